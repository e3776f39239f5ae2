//! Logging in at an OpenID Connect provider, through the person's own browser.
//!
//! The browser comes back to a loopback address that only this command listens at, for as long as
//! the login takes (RFC 8252 §7.3). The token goes into a file that its owner alone can read.

mod listener;
mod token_file;

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use dockin_core::{
    Error, ErrorKind,
    identity::oidc::{LoginSettings, OidcLogin},
};
use jiff::Timestamp;

use self::listener::Listener;
use crate::{failure::Failure, low_args::OidcLoginArgs, printable::printable};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Logs a person in and writes the token.
pub(crate) async fn run(args: OidcLoginArgs) -> Result<ExitCode, Failure> {
    let settings = settings(&args)?;
    let login = OidcLogin::discover(settings).await.map_err(failure)?;
    let listener = Listener::bind(args.port).await?;
    let pending = login.begin(&listener.address()).map_err(failure)?;
    eprintln!("log in with a browser at\n\n{}\n", printable(pending.url()));
    if args.open {
        open(pending.url());
    }
    let answer = listener.answer(|query| pending.is_answer(query));
    let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
        Failure::local(format!("nobody logged in within {} s", PATIENCE.as_secs()))
    })??;
    let tokens = match pending.finish(answer.query(), Timestamp::now()).await {
        Ok(tokens) => tokens,
        Err(error) => {
            answer.refuse().await;
            return Err(failure(error));
        }
    };
    let written = token_file::write(&args.token_file, &tokens.id_token);
    match &written {
        Ok(()) => answer.thank().await,
        Err(_) => answer.refuse().await,
    }
    written?;
    eprintln!(
        "logged in as {} until {}; the token is in {}",
        printable(&tokens.identity.user),
        tokens.identity.expires,
        args.token_file.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &OidcLoginArgs) -> Result<LoginSettings, Failure> {
    let secret = |path: &std::path::PathBuf| {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::local(format!("cannot read `{shown}`: {error}")))?;
        match text.trim() {
            "" => Err(Failure::local(format!("`{shown}` is empty"))),
            secret => Ok(secret.to_owned()),
        }
    };
    Ok(LoginSettings {
        issuer: args.issuer.clone(),
        client_id: args.client_id.clone(),
        client_secret: args.client_secret_file.as_ref().map(secret).transpose()?,
        scopes: args.scope.clone(),
        certificate_authority: args.certificate_authority.clone(),
    })
}

/// Shows the address in a browser. What is in it is worth nothing without what stays here.
fn open(url: &str) {
    let opened = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = opened {
        eprintln!("no browser could be opened: {error}");
    }
}

fn failure(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Misuse => Failure::usage(error.chain()),
        _ => Failure::gateway(error.chain()),
    }
}
