//! Requests for certificates (PKCS #10), as agents make them and gateways read them.
//!
//! Spec: RFC 2986, RFC 5280 §4.2.1.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKey, SanType,
};

use super::agent_name;
use crate::{Error, ErrorKind};

/// The request of an agent for a certificate, checked: it asks for its own name and nothing else,
/// and whoever made it has the private key.
pub struct CertificateRequest {
    agent: String,
    public_key: PublicKey,
}

/// A new private key and the request for a certificate for it, both PEM. Has no `Debug`: the key
/// is a secret.
pub struct MadeRequest {
    /// The request; public.
    pub request: String,
    /// The private key; secret.
    pub key: String,
}

impl CertificateRequest {
    /// Makes a key (ECDSA P-256), and a request for a certificate of the agent called `agent`.
    ///
    /// # Errors
    ///
    /// `Misuse` for a name that no agent can have; `Unavailable` when the system has no randomness
    /// to give.
    pub fn make(agent: &str) -> Result<MadeRequest, Error> {
        let unmade = |error: rcgen::Error| {
            Error::new(ErrorKind::Unavailable, "the request cannot be made").with_source(error)
        };
        let mut params = CertificateParams::new(vec![agent_name(agent)?]).map_err(unmade)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, agent);
        params.distinguished_name = subject;
        let key = KeyPair::generate().map_err(unmade)?;
        let request = params.serialize_request(&key).map_err(unmade)?;
        Ok(MadeRequest {
            request: request.pem().map_err(unmade)?,
            key: key.serialize_pem(),
        })
    }

    /// Reads the request `pem`, which must be for the agent called `agent`.
    ///
    /// # Errors
    ///
    /// `Malformed` for what is no request, is not signed by its own key, or has a key of a kind
    /// that is not accepted; `Forbidden` when it asks for another name, for several, or to be an
    /// authority.
    pub fn read(pem: &str, agent: &str) -> Result<Self, Error> {
        let name = agent_name(agent)?;
        let read = CertificateSigningRequestParams::from_pem(pem).map_err(|error| {
            let what = "the certificate request cannot be read, or its signature is wrong";
            Error::new(ErrorKind::Malformed, what).with_source(error)
        })?;
        let forbidden = |what: &str| {
            let message = format!("the certificate request of agent `{agent}` {what}");
            Err(Error::new(ErrorKind::Forbidden, message))
        };
        let params = &read.params;
        if !matches!(params.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa) {
            return forbidden("asks to be an authority");
        }
        let allowed = [
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        if !params.key_usages.iter().all(|one| allowed.contains(one)) {
            return forbidden("asks for a key usage that no agent has");
        }
        let allowed = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let mut usages = params.extended_key_usages.iter();
        if !usages.all(|one| allowed.contains(one)) {
            return forbidden("asks for an extended key usage that no agent has");
        }
        let mut subject = params.distinguished_name.iter();
        match (subject.next(), subject.next()) {
            (None, _) => {}
            (Some((DnType::CommonName, value)), None) if text(value) == Some(agent) => {}
            _ => return forbidden("is for another subject"),
        }
        match params.subject_alt_names.as_slice() {
            [SanType::DnsName(one)] if one.as_str() == name => {}
            _ => return forbidden(&format!("is not for `{name}` alone")),
        }
        let accepted = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ED25519,
        ];
        if !accepted.contains(&read.public_key.algorithm()) {
            let what = "the key of the certificate request must be ECDSA P-256, P-384 or Ed25519";
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        Ok(Self {
            agent: agent.to_owned(),
            public_key: read.public_key,
        })
    }

    /// Whose request it is.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    pub(super) const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

fn text(value: &DnValue) -> Option<&str> {
    match value {
        DnValue::Utf8String(text) => Some(text),
        DnValue::PrintableString(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::time::Duration;

    use jiff::Timestamp;
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose,
    };
    use rustls::pki_types::CertificateDer;
    use webpki::EndEntityCert;

    use super::CertificateRequest;
    use crate::{
        ErrorKind,
        tls::{authority::Authority, live::validity},
    };

    const NAME: &str = "node1.agent.dockin.internal";

    fn request(change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn refusal(pem: &str) -> (ErrorKind, String) {
        let error = CertificateRequest::read(pem, "node1").err().unwrap();
        (error.kind(), error.chain())
    }

    #[test]
    fn a_request_gets_a_certificate_for_exactly_its_name() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::new(now).unwrap();
        let made = CertificateRequest::make("node1").unwrap();
        let read = CertificateRequest::read(&made.request, "node1").unwrap();
        let issued = authority
            .agent(&read, now, Duration::from_secs(90))
            .unwrap();
        let der = CertificateDer::from(issued.der.clone());
        let parsed = EndEntityCert::try_from(&der).unwrap();
        let names: Vec<&str> = parsed.valid_dns_names().collect();
        assert_eq!(names, [NAME]);
        let (begin, end) = validity(&der).unwrap();
        assert_eq!(end, issued.expires);
        assert_eq!(end.as_second() - now.as_second(), 90);
        assert_eq!(now.as_second() - begin.as_second(), 9);
        super::super::Identity::from_pem(&issued.pem, &made.key).unwrap();
    }

    #[test]
    fn who_asks_for_more_than_his_name_gets_nothing() {
        struct Wish(&'static str, fn(&mut CertificateParams));

        let wishes = [
            Wish("authority", |it| {
                it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            Wish("authority", |it| {
                it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            }),
            Wish("key usage", |it| {
                it.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            }),
            Wish("extended key usage", |it| {
                it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            }),
            Wish("another subject", |it| {
                it.distinguished_name.push(DnType::CommonName, "node2");
            }),
            Wish("another subject", |it| {
                it.distinguished_name.push(DnType::CommonName, "node1");
                it.distinguished_name
                    .push(DnType::OrganizationName, "system:masters");
            }),
            Wish("alone", |it| {
                let more = CertificateParams::new(vec!["gateway.dockin.internal".to_owned()]);
                it.subject_alt_names.extend(more.unwrap().subject_alt_names);
            }),
            Wish("alone", |it| {
                let other = CertificateParams::new(vec!["*.agent.dockin.internal".to_owned()]);
                it.subject_alt_names = other.unwrap().subject_alt_names;
            }),
            Wish("alone", |it| it.subject_alt_names = Vec::new()),
        ];
        for Wish(words, wish) in wishes {
            let (kind, text) = refusal(&request(wish));
            assert_eq!(kind, ErrorKind::Forbidden, "{text}");
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(CertificateRequest::read(&request(|_| {}), "node1").is_ok());
        assert!(CertificateRequest::read(&request(|_| {}), "node2").is_err());
        assert!(CertificateRequest::make("a b").is_err());
    }

    #[test]
    fn what_is_not_signed_by_its_own_key_is_refused() {
        let good = request(|_| {});
        let (_, text) = refusal("");
        assert!(text.contains("cannot be read"), "{text}");
        // Another signature under the same request.
        let lines: Vec<&str> = good.lines().collect();
        let tail = lines.get(lines.len() - 2).unwrap();
        let changed: String = tail
            .chars()
            .map(|letter| match letter {
                'A' => 'B',
                'a'..='y' => 'a',
                other => other,
            })
            .collect();
        assert_ne!(*tail, changed);
        let (kind, text) = refusal(&good.replace(tail, &changed));
        assert_eq!(kind, ErrorKind::Malformed, "{text}");
    }
}
