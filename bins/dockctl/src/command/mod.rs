//! One module for each verb: takes checked arguments, gives the exit code.

pub(crate) mod access;
pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod audit_table;
pub(crate) mod audit_verify;
pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod kubeconfig;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod policy;
pub(crate) mod port_forward;
pub(crate) mod session;
pub(crate) mod session_live;
pub(crate) mod streams;

use std::{future::Future, process::ExitCode};

use crate::{failure::Failure, high_args::HighArgs};

/// Does what was asked for.
pub(crate) fn run(args: HighArgs) -> Result<ExitCode, Failure> {
    match args {
        HighArgs::Demo(args) => demo::run(args),
        HighArgs::Kubeconfig(args) => kubeconfig::run(&args),
        HighArgs::Login(args) => block_on(login::login(args)),
        HighArgs::Logout(args) => block_on(login::logout(args)),
        HighArgs::Credential(args) => login::credential(&args),
        HighArgs::Get(args) => block_on(get::run(args)),
        HighArgs::Exec(args) => block_on(exec::run(args)),
        HighArgs::Attach(args) => block_on(attach::run(args)),
        HighArgs::Logs(args) => block_on(logs::run(args)),
        HighArgs::Copy(args) => block_on(cp::run(args)),
        HighArgs::PortForward(args) => block_on(port_forward::run(args)),
        HighArgs::Audit(args) => block_on(audit::run(args)),
        HighArgs::AuditVerify(args) => audit_verify::run(&args),
        HighArgs::SessionList(args) => session::list(&args),
        HighArgs::SessionReplay(replay) => session::replay(&replay),
        HighArgs::SessionLive(args) => block_on(session_live::run(args)),
        HighArgs::Policy(args) => policy::run(args),
        HighArgs::Access(args) => access::run(args),
        HighArgs::OidcLogin(args) => block_on(crate::login::run(args)),
    }
}

/// Runs `future` on this thread: one connection does not fill more.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
    let result = runtime.block_on(future);
    // Blocking work of a command that failed may hang in a read or a look-up.
    runtime.shutdown_background();
    result
}
