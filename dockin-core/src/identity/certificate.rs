use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticator, Credentials, Principal, Proof, records::check_name};
use crate::{Error, ErrorKind};

/// Whom a verified client certificate is for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertificateSubject {
    /// Its common name.
    pub common_name: String,
    /// Its organizations, in their order.
    pub organizations: Vec<String>,
}

/// Client certificates, as a kube-apiserver reads them: the common name is the user, the
/// organizations are his groups. The handshake has checked authority, dates and key.
///
/// Names that begin with `system:` are Kubernetes' own: a certificate for such a user is refused,
/// such groups are left out, so that no certificate makes somebody an administrator of clusters.
///
/// Spec: Kubernetes, "Authenticating", X509 client certificates.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCertificates;

const RESERVED: &str = "system:";

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Principal>>, Error> {
        // Who sends a token means it: kubectl may send both.
        let (Some(subject), None) = (&credentials.certificate, &credentials.bearer) else {
            return Ok(None);
        };
        let user = &subject.common_name;
        let refused = |why: String| Err(Error::new(ErrorKind::Unauthenticated, why));
        if let Err(why) = check_name(user) {
            return refused(format!("the common name of the client certificate: {why}"));
        }
        if user.starts_with(RESERVED) {
            return refused(format!("a client certificate for `{user}` is not accepted"));
        }
        let groups = subject.organizations.iter();
        let groups = groups.filter(|name| check_name(name).is_ok() && !name.starts_with(RESERVED));
        let principal = Principal::new(user, groups.cloned().collect(), Proof::ClientCertificate);
        Ok(Some(Arc::new(principal)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{Authenticator as _, CertificateSubject, ClientCertificates};
    use crate::identity::Credentials;

    #[tokio::test]
    async fn a_certificate_names_its_user_and_groups_but_no_administrator() {
        let of = |name: &str, organizations: &[&str], bearer: Option<&str>| Credentials {
            certificate: Some(CertificateSubject {
                common_name: name.to_owned(),
                organizations: organizations.iter().map(|one| (*one).to_owned()).collect(),
            }),
            bearer: bearer.map(str::to_owned),
            address: None,
        };
        let groups = ["dev", "system:masters", "", "a b", "ops"];
        let known = ClientCertificates
            .authenticate(&of("alice", &groups, None))
            .await;
        let known = known.unwrap().unwrap();
        assert_eq!(
            (known.user.as_str(), known.groups.as_slice()),
            ("alice", &["dev".to_owned(), "ops".to_owned()][..])
        );
        for name in ["", "a b", "system:admin", "system:serviceaccount:a:b"] {
            let refused = ClientCertificates.authenticate(&of(name, &[], None)).await;
            assert!(refused.is_err(), "{name}");
        }
        let token = ClientCertificates
            .authenticate(&of("alice", &[], Some("dk_x")))
            .await;
        assert_eq!(token.unwrap(), None);
    }
}
