//! A person who acts as another: whom, and whether the roles allow it.

use std::{collections::BTreeMap, sync::Arc};

use dockin_policy::access::Attributes;
use http::{HeaderMap, HeaderValue};

use super::{Call, Gateway};
use crate::{Error, ErrorKind, identity::Principal};

/// Whom a request is to be made as.
#[derive(Debug, Default, Eq, PartialEq)]
struct Wanted {
    user: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Whether a request wants to be made as somebody else.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"))
}

impl Gateway {
    /// The call as the person it is to be made as: the same one when the request names nobody.
    ///
    /// As in a kube-apiserver each part is asked for alone, with the verb `impersonate`: the user
    /// or service account, every group, the uid and every extra value. What follows is decided
    /// for the person who is named.
    pub(super) async fn impersonating(
        &self,
        call: Call,
        cluster: &str,
        headers: &HeaderMap,
    ) -> Result<Call, Error> {
        if !is_wanted(headers) {
            return Ok(call);
        }
        let wanted = Wanted::parse(headers)?;
        for asked in wanted.questions(cluster) {
            self.authorize_request(&call, &asked).await?;
        }
        if wanted.uid.is_some() {
            // It would have to be carried in sessions, too; nobody needs it.
            let what = "impersonation of a uid is not carried: leave out --as-uid";
            return Err(Error::new(ErrorKind::Forbidden, what));
        }
        let by = &call.principal;
        let principal = Principal {
            user: wanted.user,
            groups: wanted.groups,
            extra: wanted.extra,
            // Not of the caller's choosing.
            tenant: by.tenant.clone(),
            proof: by.proof,
            basis: by.basis.clone(),
            impersonator: Some(by.user.clone()),
        };
        Ok(Call {
            principal: Arc::new(principal),
            client: call.client,
            kubectl: call.kubectl,
            spdy: call.spdy,
        })
    }
}

impl Wanted {
    fn parse(headers: &HeaderMap) -> Result<Self, Error> {
        let malformed = |what: &str| Error::new(ErrorKind::Malformed, what);
        let text = |value: &HeaderValue| {
            let text = value
                .to_str()
                .map_err(|_| malformed("`Impersonate-…` is not plain text"))?;
            Ok::<_, Error>(text.to_owned())
        };
        let mut wanted = Self::default();
        for (name, value) in headers {
            let Some(part) = name.as_str().strip_prefix("impersonate-") else {
                continue;
            };
            let value = text(value)?;
            match part {
                "user" if wanted.user.is_empty() => wanted.user = value,
                "uid" if wanted.uid.is_none() => wanted.uid = Some(value),
                "user" | "uid" => {
                    return Err(malformed("`Impersonate-User` or `-Uid` is given twice"));
                }
                "group" => wanted.groups.push(value),
                part => {
                    let key = part.strip_prefix("extra-").filter(|key| !key.is_empty());
                    let key = key.and_then(unescape).ok_or_else(|| {
                        malformed("`Impersonate-…` has no such part: user, group, uid or extra-KEY")
                    })?;
                    wanted.extra.entry(key).or_default().push(value);
                }
            }
        }
        if wanted.user.is_empty() {
            return Err(malformed("`Impersonate-User` is missing: give --as, too"));
        }
        Ok(wanted)
    }

    /// What must be allowed.
    fn questions(&self, cluster: &str) -> Vec<Attributes> {
        let one = |resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cluster: Some(cluster.to_owned()),
            ..Attributes::default()
        };
        let account = self.user.strip_prefix("system:serviceaccount:");
        let account = account.and_then(|account| account.split_once(':'));
        let mut all = vec![match account {
            Some((namespace, name)) => one("serviceaccounts", "", namespace, name),
            None => one("users", "", "", &self.user),
        }];
        all.extend(self.groups.iter().map(|group| one("groups", "", "", group)));
        all.extend(self.uid.iter().map(|uid| one("uids", "", "", uid)));
        for (key, values) in &self.extra {
            all.extend(values.iter().map(|value| one("userextras", key, "", value)));
        }
        all
    }
}

fn unescape(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes)
        .ok()
        .map(|key| key.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::{HeaderMap, HeaderName};

    use super::Wanted;

    fn wanted(lines: &[&str]) -> Result<Wanted, String> {
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        Wanted::parse(&map).map_err(|error| error.to_string())
    }

    #[test]
    fn every_part_is_a_question_of_its_own() {
        let all = wanted(&[
            "Impersonate-User: bob",
            "Impersonate-Group: dev",
            "impersonate-group: ops",
            "Impersonate-Extra-Example.com%2fteam: red",
            "Impersonate-Uid: 7",
        ]);
        let asked: Vec<String> = all
            .unwrap()
            .questions("c")
            .iter()
            .map(|one| {
                format!(
                    "{} {}/{} {}",
                    one.verb, one.resource, one.subresource, one.name
                )
            })
            .collect();
        let expected = [
            "impersonate users/ bob",
            "impersonate groups/ dev",
            "impersonate groups/ ops",
            "impersonate uids/ 7",
            "impersonate userextras/example.com/team red",
        ];
        assert_eq!(asked, expected);
        let account = wanted(&["Impersonate-User: system:serviceaccount:dev:robot"]).unwrap();
        let asked = account.questions("c");
        let one = asked.first().unwrap();
        let told = [&one.resource, &one.namespace, &one.name];
        assert_eq!(told, ["serviceaccounts", "dev", "robot"]);
    }

    #[test]
    fn what_names_nobody_or_two_is_refused() {
        for lines in [
            &["Impersonate-Group: system:masters"][..],
            &["Impersonate-User: a", "Impersonate-User: b"],
            &["Impersonate-User: a", "Impersonate-Extra-: b"],
            &["Impersonate-User: a", "Impersonate-Extra-%4: b"],
            &["Impersonate-User: a", "Impersonate-Other: b"],
            &["Impersonate-Uid: 1"],
        ] {
            assert!(wanted(lines).is_err(), "{lines:?}");
        }
    }
}
