//! `dockin-opserver agent`: who is an agent of this gateway.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use dockin_core::{Error, ErrorKind, identity::AgentList, tls};
use jiff::Timestamp;

use crate::config::{Config, Enrolment};

#[derive(Subcommand)]
pub(crate) enum Agent {
    /// Let one machine become an agent: prints a token that is good once, and how to use it.
    Invite {
        /// Data directory that `init` made.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// For how many minutes the token is good.
        #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=24 * 60))]
        minutes: u32,
        /// Name of the agent.
        name: String,
    },
    /// Take an agent, or its invitation, off the list: the gateway speaks to it no more.
    Remove {
        /// Data directory that `init` made.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Name of the agent.
        name: String,
    },
    /// Show agents and invitations.
    List {
        /// Data directory that `init` made.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
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
            data,
            minutes,
            name,
        } => {
            let (config, enrolment) = load(&data)?;
            if enrolment.key.is_none() {
                let what = "`enrolment` has no `key` of the authority: nobody can be enrolled";
                return Err(Error::new(ErrorKind::Misuse, what));
            }
            let authority = tls::certificates(&config.tls_files()?.authority)?;
            let fingerprint = authority.first().map(|one| tls::fingerprint(one));
            let lifetime = Duration::from_secs(u64::from(minutes) * 60);
            let token = AgentList::invite(&enrolment.agents, &name, lifetime, Timestamp::now())?;
            println!("{token}");
            let fingerprint = fingerprint.unwrap_or_default();
            let port = config.listen.port();
            eprintln!(
                "this token makes one machine the agent `{name}` within {minutes} minutes; put it \
                 into a file there, then:\n  dockin-opagent enrol --gateway https://HOST:{port} \
                 --name {name} --token-file FILE --ca-fingerprint {fingerprint} --data DIR"
            );
        }
        Agent::Remove { data, name } => {
            let (_, enrolment) = load(&data)?;
            AgentList::remove(&enrolment.agents, &name)?;
            eprintln!("agent `{name}` is removed; its certificate is worthless");
        }
        Agent::List { data } => {
            let (_, enrolment) = load(&data)?;
            let (agents, invitations) = AgentList::list(&enrolment.agents)?;
            for agent in agents {
                let until = agent.certificates.iter().map(|one| one.expires).max();
                let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
                println!("{}\tagent\tcertificate until {until}", agent.name);
            }
            for invitation in invitations {
                println!("{}\tinvited\tuntil {}", invitation.name, invitation.expires);
            }
        }
    }
    Ok(())
}

fn load(data: &std::path::Path) -> Result<(Config, Enrolment), Error> {
    let mut config = Config::load(&data.join("opserver.yaml"))?;
    let enrolment = config.enrolment.take().ok_or_else(|| {
        let fix = "the configuration has no `enrolment: { agents: agents.yaml, key: tls/ca.key }`";
        Error::new(ErrorKind::Misuse, fix)
    })?;
    Ok((config, enrolment))
}
