//! `dockin-opserver agent`: who is an agent of this gateway, or of all that share a store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Subcommand;
use dockin_core::{
    Error, ErrorKind,
    identity::{AgentList, SharedAgents},
    store::Store,
    tls,
};
use jiff::Timestamp;

use crate::{
    config::{Config, Enrolment},
    store::{self, Commanded, wait},
};

#[derive(Subcommand)]
pub(crate) enum Agent {
    /// Let one machine become an agent: prints a token that is good once, and how to use it.
    Invite {
        #[command(flatten)]
        place: Commanded,
        /// For how many minutes the token is good.
        #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=24 * 60))]
        minutes: u32,
        /// Name of the agent.
        name: String,
    },
    /// Take an agent, or its invitation, off the list: the gateways of the list speak to it no more.
    Remove {
        #[command(flatten)]
        place: Commanded,
        /// Name of the agent.
        name: String,
    },
    /// Show agents and invitations.
    List {
        #[command(flatten)]
        place: Commanded,
    },
    /// Put the agents of a file into the store, for gateways that share them from now on. Those of
    /// a name that is there already are left as they are.
    Import {
        #[command(flatten)]
        place: Commanded,
        /// The list that a gateway had, such as DIR/agents.yaml.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs one of them.
///
/// # Errors
///
/// `Misuse` when the configuration has no list of agents; those of the list.
pub(crate) fn agent(command: Agent) -> Result<(), Error> {
    match command {
        Agent::Invite {
            place,
            minutes,
            name,
        } => {
            let (config, enrolment, agents) = load(&place)?;
            if enrolment.key.is_none() {
                let what = "`enrolment` has no `key` of the authority: nobody can be enrolled";
                return Err(Error::new(ErrorKind::Misuse, what));
            }
            let authority = tls::certificates(&config.tls_files()?.authority)?;
            let fingerprint = authority.first().map(|one| tls::fingerprint(one));
            let lifetime = Duration::from_secs(u64::from(minutes) * 60);
            let now = Timestamp::now();
            let token = match &agents {
                Agents::File(file) => AgentList::invite(file, &name, lifetime, now)?,
                Agents::Shared(shared) => wait(shared.invite(&name, lifetime, now))?,
            };
            println!("{token}");
            let fingerprint = fingerprint.unwrap_or_default();
            let port = config.listen.port();
            eprintln!(
                "this token makes one machine the agent `{name}` within {minutes} minutes; put it \
                 into a file there, then:\n  dockin-opagent enrol --gateway https://HOST:{port} \
                 --name {name} --token-file FILE --ca-fingerprint {fingerprint} --data DIR"
            );
        }
        Agent::Remove { place, name } => {
            match load(&place)?.2 {
                Agents::File(file) => AgentList::remove(&file, &name)?,
                Agents::Shared(shared) => wait(shared.remove(&name))?,
            }
            eprintln!("agent `{name}` is removed; its certificate is worthless");
        }
        Agent::List { place } => {
            let (agents, invitations) = match load(&place)?.2 {
                Agents::File(file) => AgentList::list(&file)?,
                Agents::Shared(shared) => wait(shared.list())?,
            };
            for agent in agents {
                let until = agent.certificates.iter().map(|one| one.expires).max();
                let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
                println!("{}\tagent\tcertificate until {until}", agent.name);
            }
            for invitation in invitations {
                println!("{}\tinvited\tuntil {}", invitation.name, invitation.expires);
            }
        }
        Agent::Import { place, file } => {
            let Agents::Shared(shared) = load(&place)?.2 else {
                let fix = "agents are imported into the store that gateways share: write \
                           `enrolment: { shared: true, … }` into the configuration first";
                return Err(Error::new(ErrorKind::Misuse, fix));
            };
            let (agents, invitations) = AgentList::list(&file)?;
            let (count, left) = wait(shared.import(agents, invitations))?;
            eprintln!("{count} imported");
            if !left.is_empty() {
                eprintln!("left as they are: {}", left.join(", "));
            }
        }
    }
    Ok(())
}

/// The list that the gateway goes by, if there is one.
///
/// # Errors
///
/// `Misuse` when its file cannot be read, or there is no store.
pub(crate) async fn list(
    config: &Config,
    store: Option<&Arc<dyn Store>>,
) -> Result<Option<AgentList>, Error> {
    let Some(enrolment) = &config.enrolment else {
        return Ok(None);
    };
    let (Some(store), Some(wanted)) = (store, &config.store) else {
        let file = enrolment.agents.as_ref().ok_or_else(no_store)?;
        return AgentList::load(file).map(Some);
    };
    if let Some(file) = &enrolment.agents {
        tracing::warn!(
            file = %file.display(),
            "agents are this gateway's alone: an agent that is removed here is still one of the \
             gateways that share the store; write `enrolment: {{ shared: true, … }}` and run \
             `dockin-opserver agent import`"
        );
        return AgentList::load(file).map(Some);
    }
    let list = AgentList::in_store(Arc::clone(store), wanted.stale()).await;
    Ok(Some(list))
}

/// Where agents are.
enum Agents {
    File(PathBuf),
    Shared(SharedAgents),
}

fn load(place: &Commanded) -> Result<(Config, Enrolment, Agents), Error> {
    let mut config = place.config()?;
    let enrolment = config.enrolment.take().ok_or_else(|| {
        let fix = "the configuration has no `enrolment: { agents: agents.yaml, key: tls/ca.key }`";
        Error::new(ErrorKind::Misuse, fix)
    })?;
    let agents = match &enrolment.agents {
        Some(file) => Agents::File(Path::to_owned(file)),
        None => Agents::Shared(SharedAgents::new(
            store::open(&config)?.ok_or_else(no_store)?,
        )),
    };
    Ok((config, enrolment, agents))
}

/// Why shared agents cannot be had.
fn no_store() -> Error {
    let fix = "`enrolment` says `shared: true`, so `store: redis://HOST:6379/0` is needed in the \
               configuration, or `--store`";
    Error::new(ErrorKind::Misuse, fix)
}
