//! Who comes in, and how far: who asks, which cluster he reaches, what he may do there. Every
//! refusal is written down.

use std::{net::IpAddr, sync::Arc};

use dockin_policy::access::Attributes;
use http::HeaderMap;

use super::{Call, Cluster, Found, Gateway, bearer, malformed, refusal};
use crate::{
    Error, ErrorKind, Target,
    access::{self, Decision, Permit, SessionId, Verb},
    identity::{Credentials, Principal, authenticate},
    service::Peer,
};

impl Gateway {
    /// Who asks.
    pub(super) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Arc<Principal>, Error> {
        let credentials = Credentials {
            bearer: bearer(headers),
            certificate: peer.certificate.clone(),
            address: Some(peer.address.ip()),
        };
        let result = authenticate(&*self.authenticator, &credentials).await;
        if let Err(error) = &result
            && (credentials.bearer.is_some() || credentials.certificate.is_some())
        {
            self.auditor.login_failed(peer.address, error).await?;
        }
        result
    }

    /// The cluster of that name, the first one without a name, if the caller may do anything
    /// there from where he is. Whether there is one of a name is told to nobody else.
    pub(super) async fn reached_cluster(
        &self,
        call: &Call,
        name: Option<&str>,
        path: &str,
    ) -> Result<Arc<Cluster>, Error> {
        let found = self.clusters.find(name);
        let known = found.as_ref().map(|cluster| cluster.name().to_owned());
        let name = name.or(known.as_deref()).unwrap_or_default();
        let user = &call.principal.user;
        let wanted = || Attributes {
            verb: "reach".to_owned(),
            path: path.to_owned(),
            cluster: Some(name.to_owned()),
            ..Attributes::default()
        };
        if !self.authorizer.reaches(&call.principal, name).await {
            let message = format!(
                "user `{user}` may not reach cluster `{name}`; `dockctl login` writes \
                 down which ones you may"
            );
            let error = refusal::refused(&message, &call.principal, &wanted());
            let everything = Target::namespace(name, "*");
            let list = self
                .authorizer
                .decide(&call.principal, Verb::List, &everything);
            let error = match list.await {
                Decision::Deny {
                    rule: Some(rule), ..
                } => error.with_rule(rule),
                _ => error.with_rule("no rule matches"),
            };
            return Err(self.refused(call, &wanted(), error).await);
        }
        let Some(cluster) = found else {
            let message = format!("cluster \"{name}\" not found");
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        let address = call.client.ip();
        if !cluster.admits(address) {
            let message = format!(
                "cluster `{name}` is not reached from {address}, which is not in its `whitelist`; \
                 come from another network"
            );
            let error = Error::new(ErrorKind::Forbidden, message);
            let error = error.with_rule(format!("`whitelist` of cluster `{name}`"));
            return Err(self.refused(call, &wanted(), error).await);
        }
        if !self.rule_admits(&cluster, address)? {
            let message = format!(
                "cluster `{name}` is not reached from {address}, which is not in the list of its \
                 rule; come from another network"
            );
            let error = Error::new(ErrorKind::Forbidden, message);
            let rule = cluster.rule().unwrap_or_default();
            let error = error.with_rule(format!("addresses of rule `{rule}`"));
            return Err(self.refused(call, &wanted(), error).await);
        }
        Ok(cluster)
    }

    /// Whether the list of the cluster's rule has the address, when there are such lists.
    pub(super) fn rule_admits(&self, cluster: &Cluster, address: IpAddr) -> Result<bool, Error> {
        match (&self.rule_addresses, cluster.rule()) {
            (Some(lists), Some(rule)) => lists.admits(rule, address),
            _ => Ok(true),
        }
    }

    /// Lets a request pass that the caller may make, or refuses it and writes that down.
    pub(super) async fn authorize_request(
        &self,
        call: &Call,
        wanted: &Attributes,
    ) -> Result<(), Error> {
        let decision = self
            .authorizer
            .decide_request(&call.principal, wanted)
            .await;
        let Decision::Deny { reason, rule } = decision else {
            return Ok(());
        };
        let error = refusal::refused(&reason, &call.principal, wanted);
        let error = match rule {
            Some(rule) => error.with_rule(rule),
            None => error,
        };
        Err(self.refused(call, wanted, error).await)
    }

    /// The refusal, written down; or why it cannot be.
    #[cfg(feature = "kube")]
    pub(super) async fn request_refused(
        &self,
        call: &Call,
        wanted: &Attributes,
        message: String,
    ) -> Error {
        // It would reach a container past the sessions, or it is none that is carried at all.
        let error = Error::new(ErrorKind::Forbidden, message).with_rule("never carried");
        self.refused(call, wanted, error).await
    }

    /// The refusal, written down; or why it cannot be.
    pub(super) async fn refused(&self, call: &Call, wanted: &Attributes, error: Error) -> Error {
        match self.auditor.request_denied(call, wanted, &error).await {
            Ok(()) => error,
            Err(unwritten) => unwritten,
        }
    }

    /// The permit, or a refusal that is written down.
    pub(super) async fn authorize(
        &self,
        call: &Call,
        verb: Verb,
        target: Target,
    ) -> Result<Permit, Error> {
        let authorizer = &*self.authorizer;
        let session = SessionId::new();
        let wanted = target.clone();
        let result = access::authorize(authorizer, &call.principal, verb, target, session).await;
        let result =
            result.map_err(|error| refusal::explained(error, &call.principal, verb, &wanted));
        if let Err(error) = &result {
            // kubectl repeats a refused WebSocket upgrade over SPDY: one denial, two requests.
            let upgrades = matches!(verb, Verb::Exec | Verb::Attach | Verb::PortForward);
            if !(upgrades && self.refusals.seen_before(call, (verb, &wanted))) {
                self.auditor
                    .access_denied(call, verb, &wanted, error)
                    .await?;
            }
        }
        result
    }

    /// The pod and its container, and the permit for it. Whether a pod exists is told only to
    /// those who may use it.
    pub(super) async fn permit(
        &self,
        call: &Call,
        cluster: &Cluster,
        verb: Verb,
        (namespace, pod): (&str, &str),
        container: Option<&str>,
    ) -> Result<(Permit, Found), Error> {
        let (permit, found) = self
            .pod_permit(call, cluster, verb, (namespace, pod))
            .await?;
        let container = &found.pod.container(container)?.name;
        let target = permit
            .target()
            .clone()
            .with_container(container)
            .map_err(malformed)?;
        let permit = self.authorize(call, verb, target).await?;
        Ok((permit, found))
    }

    /// The pod, and the permit for it as a whole.
    pub(super) async fn pod_permit(
        &self,
        call: &Call,
        cluster: &Cluster,
        verb: Verb,
        (namespace, pod): (&str, &str),
    ) -> Result<(Permit, Found), Error> {
        let target = Target::pod(cluster.name(), namespace, pod).map_err(malformed)?;
        let permit = self.authorize(call, verb, target).await?;
        let found = cluster.find(call, namespace, pod).await?;
        Ok((permit, found))
    }
}
