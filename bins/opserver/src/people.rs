//! Who people are: what proves it, in the order in which it is asked, and what they log in with.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use dockin_core::{
    Error, ErrorKind,
    gateway::{ClusterAccounts, Logins},
    identity::{
        Accounts, Authenticator, Chain, CheckedPeople, ClientCertificates, Passwords,
        ServiceAccounts, SessionTokens, TokenFile, ldap::LdapDirectory, oidc::OidcIssuer,
    },
    runtime::kube::{ClusterConfig, KubeCluster},
    store::Store,
};

use crate::{
    account,
    config::{self, Config, Method, ServiceAccountsConfig},
};

/// Who people are.
pub(crate) struct People {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) logins: Option<Logins>,
    pub(crate) cluster_accounts: Vec<Arc<ClusterAccounts>>,
}

/// What proves who somebody is, what people log in with when there are accounts, and what of the
/// former must know the gateway's clusters.
///
/// # Errors
///
/// `Misuse` or `Unavailable` naming the file or key that is wrong.
pub(crate) async fn people(
    config: &Config,
    store: Option<&Arc<dyn Store>>,
) -> Result<People, Error> {
    let identity = &config.identity;
    let mut tokens = TokenFile::load(&config.tokens)?;
    if let Some(store) = store {
        tokens = tokens.with_store(Arc::clone(store));
    }
    let (tokens, logins) = match &config.accounts {
        None => (Arc::new(tokens), None),
        Some(wanted) => {
            let logins = logins(config, wanted, tokens, store)?;
            (Arc::clone(&logins.tokens), Some(logins))
        }
    };
    let mut chain: Vec<Arc<dyn Authenticator>> = Vec::new();
    let mut cluster_accounts = Vec::new();
    for method in identity.order(config.client_authority.is_some(), logins.is_some()) {
        match method {
            Method::ClientCertificates => chain.push(Arc::new(ClientCertificates)),
            Method::Sessions => {
                let sessions = logins.iter().map(|logins| Arc::clone(&logins.sessions));
                chain.extend(sessions.map(|sessions| sessions as Arc<dyn Authenticator>));
            }
            Method::Tokens => chain.push(Arc::clone(&tokens) as Arc<dyn Authenticator>),
            Method::Oidc => {
                for settings in &identity.oidc {
                    chain.push(Arc::new(OidcIssuer::new(settings.clone())?));
                }
            }
            Method::ServiceAccounts => {
                for wanted in &identity.service_accounts {
                    if let Some(later) = of_clusters(config, wanted)? {
                        cluster_accounts.push(Arc::clone(&later));
                        chain.push(later);
                    } else {
                        chain.push(Arc::new(service_accounts(config, wanted).await?));
                    }
                }
            }
        }
    }
    Ok(People {
        authenticator: Arc::new(Chain::new(chain)),
        logins,
        cluster_accounts,
    })
}

/// Accounts, then the directory.
fn logins(
    config: &Config,
    wanted: &config::Accounts,
    tokens: TokenFile,
    store: Option<&Arc<dyn Store>>,
) -> Result<Logins, Error> {
    let accounts = match (&wanted.file, store) {
        (Some(file), None) => Accounts::load(file)?,
        (Some(file), Some(store)) => Accounts::load(file)?.with_store(Arc::clone(store)),
        (None, Some(store)) => Accounts::in_store(Arc::clone(store))?,
        (None, None) => return Err(account::no_store()),
    };
    let accounts = Arc::new(accounts);
    make_directory(&wanted.sessions)?;
    let mut sessions = SessionTokens::open(
        &wanted.sessions,
        &wanted.audience,
        wanted.lifetime(),
        Arc::clone(&accounts),
    )?;
    let mut passwords = Passwords::new(Arc::clone(&accounts));
    if let Some(store) = store {
        sessions = sessions.with_store(Arc::clone(store));
        passwords = passwords.with_store(Arc::clone(store));
    }
    if let Some(settings) = &config.identity.ldap {
        let directory = Arc::new(LdapDirectory::new(settings.clone())?);
        let recheck = config.identity.ldap_recheck();
        let people = Arc::new(CheckedPeople::new(directory, recheck));
        sessions = sessions.with_directory(Arc::clone(&people));
        passwords = passwords.with_directory(people);
    }
    Ok(Logins {
        tokens: Arc::new(tokens.with_accounts(accounts)),
        sessions: Arc::new(sessions),
        passwords: Arc::new(passwords),
    })
}

/// The service accounts of clusters that are found when somebody comes: of all, or of one that the
/// configuration does not describe itself.
fn of_clusters(
    config: &Config,
    wanted: &ServiceAccountsConfig,
) -> Result<Option<Arc<ClusterAccounts>>, Error> {
    let name = &wanted.cluster;
    let accounts = match wanted.audience_of_all() {
        Some(audience) => ClusterAccounts::of_all(audience)?,
        None if config.clusters.iter().any(|one| one.name == *name) => return Ok(None),
        None => ClusterAccounts::of(name, wanted.audiences.clone()),
    };
    Ok(Some(Arc::new(accounts)))
}

async fn service_accounts(
    config: &Config,
    wanted: &ServiceAccountsConfig,
) -> Result<ServiceAccounts, Error> {
    let name = &wanted.cluster;
    let mut clusters = config.clusters.iter();
    let cluster = clusters.find(|cluster| cluster.name == *name);
    let kubeconfig = cluster.and_then(|cluster| cluster.kubeconfig.as_ref());
    let kubeconfig = kubeconfig.ok_or_else(|| {
        let what = format!("cluster `{name}` has no `kubeconfig`");
        Error::new(ErrorKind::Misuse, what)
    })?;
    // Not the one that people's requests go through: a token must not wait for them.
    let reviewer = KubeCluster::open(ClusterConfig::read(name, kubeconfig).await?)?;
    ServiceAccounts::new(name, wanted.audiences.clone(), Arc::new(reviewer))
}

fn make_directory(directory: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| {
        let message = format!("`{}` cannot be made", directory.display());
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    })
}
