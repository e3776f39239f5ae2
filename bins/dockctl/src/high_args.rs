//! The command line checked and completed: kubeconfig read, defaults filled in.

use crate::{
    command::{
        access::Access,
        attach::Attach,
        audit::{Audit, Source},
        cp::{Copy, Place},
        demo::DemoArgs,
        exec::Exec,
        get::Get,
        logs::Logs,
        policy::Policy,
        port_forward::PortForward,
        session::Replay,
        session_live::SessionLive,
        streams::SessionOptions,
    },
    failure::Failure,
    forward::PortPair,
    kubeconfig::{Connection, KubeConfig, paths},
    low_args::{
        AccessArgs, AuditArgs, AuditVerifyArgs, CommandArgs, ConnectionArgs, CopyArgs,
        CredentialArgs, KubeconfigArgs, LoginArgs, LowArgs, OidcLoginArgs, PolicyArgs, ServerArgs,
        SessionArgs, SessionCommandArgs, SessionListArgs, TargetArgs,
    },
    target::{Target, pod_name},
};

/// What is to be done, with all that it takes.
#[derive(Debug)]
pub(crate) enum HighArgs {
    Demo(DemoArgs),
    Kubeconfig(KubeconfigArgs),
    Login(LoginArgs),
    Logout(ServerArgs),
    Credential(CredentialArgs),
    Get(Get),
    Exec(Exec),
    Attach(Attach),
    Logs(Logs),
    Copy(Copy),
    PortForward(PortForward),
    Audit(Audit),
    AuditVerify(AuditVerifyArgs),
    SessionList(SessionListArgs),
    SessionReplay(Replay),
    SessionLive(SessionLive),
    Policy(Policy),
    Access(Access),
    OidcLogin(OidcLoginArgs),
}

impl HighArgs {
    /// Checks what was written and looks up what was not.
    pub(crate) fn check(low: LowArgs) -> Result<Self, Failure> {
        let global = low.target;
        Ok(match low.command {
            CommandArgs::Demo(args) => Self::Demo(args),
            CommandArgs::Kubeconfig(mut args) => {
                args.namespace = args.namespace.or(global.namespace);
                Self::Kubeconfig(args)
            }
            CommandArgs::Login(mut args) => {
                args.namespace = args.namespace.or(global.namespace);
                Self::Login(args)
            }
            CommandArgs::Logout(args) => Self::Logout(args),
            CommandArgs::Credential(args) => Self::Credential(args),
            CommandArgs::Get(args) => {
                let (connection, namespace) = place(&global, &args.target)?;
                if args.all_namespaces && !args.names.is_empty() {
                    return Err(Failure::usage(
                        "--all-namespaces shows all pods, not named ones",
                    ));
                }
                let names = args
                    .names
                    .iter()
                    .map(|name| pod_name(name))
                    .collect::<Result<_, _>>()?;
                Self::Get(Get {
                    connection,
                    namespace: (!args.all_namespaces).then_some(namespace),
                    names,
                    format: args.output,
                    headings: !args.no_headers,
                })
            }
            CommandArgs::Exec(args) => Self::Exec(Exec {
                target: target(
                    &global,
                    &args.target,
                    &args.pod,
                    args.session.container.clone(),
                )?,
                options: session(&args.session)?,
                command: args.command,
            }),
            CommandArgs::Attach(args) => Self::Attach(Attach {
                target: target(
                    &global,
                    &args.target,
                    &args.pod,
                    args.session.container.clone(),
                )?,
                options: session(&args.session)?,
            }),
            CommandArgs::Logs(args) => Self::Logs(Logs {
                target: target(&global, &args.target, &args.pod, args.container)?,
                follow: args.follow,
                tail: args.tail,
                timestamps: args.timestamps,
                since_seconds: args.since.as_deref().map(seconds).transpose()?,
                previous: args.previous,
            }),
            CommandArgs::Cp(args) => Self::Copy(copy(&global, &args)?),
            CommandArgs::PortForward(args) => Self::PortForward(PortForward {
                target: target(&global, &args.target, &args.pod, None)?,
                address: args.address,
                ports: args
                    .ports
                    .iter()
                    .map(|pair| PortPair::parse(pair))
                    .collect::<Result<_, _>>()?,
            }),
            CommandArgs::Audit(AuditArgs::Tail(args)) => {
                let source = match args.file {
                    Some(file) => Source::File(file),
                    None => {
                        Source::Gateway(Box::new(connection(&global.connection, &args.connection)?))
                    }
                };
                Self::Audit(Audit::tail(source, args.lines, args.follow, args.output))
            }
            CommandArgs::Audit(AuditArgs::Search(args)) => {
                let source = match &args.file {
                    Some(file) => Source::File(file.clone()),
                    None => {
                        Source::Gateway(Box::new(connection(&global.connection, &args.connection)?))
                    }
                };
                Self::Audit(Audit::search(source, *args)?)
            }
            CommandArgs::Audit(AuditArgs::Verify(args)) => Self::AuditVerify(args),
            CommandArgs::Session(SessionCommandArgs::List(args)) => Self::SessionList(args),
            CommandArgs::Session(SessionCommandArgs::Replay(args)) => {
                Self::SessionReplay(Replay::check(args)?)
            }
            CommandArgs::Session(SessionCommandArgs::Live(args)) => {
                Self::SessionLive(SessionLive {
                    connection: connection(&global.connection, &args.connection)?,
                    output: args.output,
                })
            }
            CommandArgs::Access(AccessArgs::Check { files, from }) => {
                Self::Access(Access::Check(files, from))
            }
            CommandArgs::Access(AccessArgs::Explain(args)) => Self::Access(Access::Explain(args)),
            CommandArgs::OidcLogin(args) => Self::OidcLogin(args),
            CommandArgs::Policy(PolicyArgs::Check { file }) => Self::Policy(Policy::Check(file)),
            CommandArgs::Policy(PolicyArgs::Explain(args)) => Self::Policy(Policy::Explain(args)),
            CommandArgs::Policy(PolicyArgs::Test(args)) => Self::Policy(Policy::Test(args)),
            CommandArgs::Policy(PolicyArgs::Judge(args)) => Self::Policy(Policy::Judge(args)),
        })
    }
}

/// The connection of a command: options behind the verb win over those before it.
fn connection(global: &ConnectionArgs, local: &ConnectionArgs) -> Result<Connection, Failure> {
    let file = local.kubeconfig.as_deref().or(global.kubeconfig.as_deref());
    let context = local.context.as_deref().or(global.context.as_deref());
    let cluster = local.cluster.as_deref().or(global.cluster.as_deref());
    KubeConfig::load(&paths(file))?.resolve(context, cluster)
}

fn place(global: &TargetArgs, local: &TargetArgs) -> Result<(Connection, String), Failure> {
    let connection = connection(&global.connection, &local.connection)?;
    let namespace = local
        .namespace
        .clone()
        .or_else(|| global.namespace.clone())
        .or_else(|| connection.namespace.clone())
        .unwrap_or_else(|| "default".to_owned());
    if namespace.is_empty() {
        return Err(Failure::usage("the namespace is empty"));
    }
    Ok((connection, namespace))
}

fn target(
    global: &TargetArgs,
    local: &TargetArgs,
    pod: &str,
    container: Option<String>,
) -> Result<Target, Failure> {
    let pod = pod_name(pod)?;
    let (connection, namespace) = place(global, local)?;
    Ok(Target {
        connection,
        namespace,
        pod,
        container,
    })
}

fn session(args: &SessionArgs) -> Result<SessionOptions, Failure> {
    let escape = match args.escape_char.as_bytes() {
        b"none" => None,
        [byte] if byte.is_ascii_graphic() => Some(*byte),
        _ => {
            return Err(Failure::usage(format!(
                "escape character `{}` must be one visible ASCII character or `none`",
                args.escape_char
            )));
        }
    };
    Ok(SessionOptions {
        stdin: args.stdin,
        tty: args.tty,
        quiet: args.quiet,
        escape,
    })
}

fn copy(global: &TargetArgs, args: &CopyArgs) -> Result<Copy, Failure> {
    let source = Place::parse(&args.source)?;
    let destination = Place::parse(&args.destination)?;
    let (remote, download) = match (&source, &destination) {
        (Place::Remote(remote), Place::Local(_)) => (remote, true),
        (Place::Local(_), Place::Remote(remote)) => (remote, false),
        (Place::Local(_), Place::Local(_)) => {
            return Err(Failure::usage(
                "one of the two must be in a pod, as POD:PATH",
            ));
        }
        (Place::Remote(_), Place::Remote(_)) => {
            return Err(Failure::usage("one of the two must be on this machine"));
        }
    };
    let (connection, namespace) = place(global, &args.target)?;
    let target = Target {
        connection,
        namespace: remote.namespace.clone().unwrap_or(namespace),
        pod: remote.pod.clone(),
        container: args.container.clone(),
    };
    let remote = remote.path.clone();
    Ok(match (source, destination) {
        (Place::Local(local), _) | (_, Place::Local(local)) => Copy {
            target,
            local,
            remote,
            download,
        },
        (Place::Remote(_), Place::Remote(_)) => {
            return Err(Failure::usage("one of the two must be on this machine"));
        }
    })
}

/// Seconds of a duration such as `90s`, `1h30m`, `7d`.
pub(crate) fn seconds(text: &str) -> Result<u64, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "`{text}` is no duration, write it as 90s, 5m, 2h or 7d"
        ))
    };
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            let so_far = number.unwrap_or(0);
            number = so_far
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u64::from(digit)));
            if number.is_none() {
                return Err(wrong());
            }
            continue;
        }
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        total = number
            .take()
            .and_then(|number| number.checked_mul(unit))
            .and_then(|more| total.checked_add(more))
            .ok_or_else(wrong)?;
    }
    if number.is_some() || text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests;
