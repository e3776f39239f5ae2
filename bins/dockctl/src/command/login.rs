//! Logging in to a gateway, and what kubectl then asks for.

use std::{
    env, fs,
    io::{self, BufRead as _, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use dockin_core::{kubernetes::credential_plugin, percent_encode};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::kubeconfig::{checked_authority, checked_server, write};
use crate::{
    client::Client,
    failure::Failure,
    kubeconfig::Connection,
    low_args::{CredentialArgs, LoginArgs, ServerArgs},
    saved_session::SavedSession,
    terminal::{self, HiddenInput},
};

#[derive(Deserialize)]
struct LoggedIn {
    user: String,
    token: String,
    expires: Timestamp,
}

/// Logs in, keeps the session, and writes a context for each cluster that there is to reach.
pub(crate) async fn login(args: LoginArgs) -> Result<ExitCode, Failure> {
    let server = checked_server(&args.server)?;
    let authority = checked_authority(&args.certificate_authority)?;
    let password = password(&args)?;
    let wish = json!({ "user": args.user, "password": password });
    let nobody = Client::new(&connection(&server, &authority, None)?)?;
    let answer = nobody
        .own_json(&Method::POST, "/dockin/v1/login", Some(&wish))
        .await?;
    let got: LoggedIn = serde_json::from_value(answer)
        .map_err(|error| Failure::gateway(format!("the answer to the login: {error}")))?;
    let session = SavedSession {
        server: server.clone(),
        user: got.user,
        token: got.token,
        expires: got.expires,
    };
    session.save()?;
    eprintln!("logged in as {} until {}", session.user, session.expires);
    let names = clusters(&server, &authority, &session.token).await?;
    let before = match fs::read_to_string(&args.output) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            let path = args.output.display();
            return Err(Failure::local(format!("cannot read `{path}`: {error}")));
        }
    };
    let wanted = Wanted {
        server: &server,
        authority: &authority,
        user: format!("dockin-{}", session.user),
        namespace: args.namespace.as_deref(),
        command: own_path(),
    };
    let merged = wanted.merge(&before, &names).map_err(|what| {
        Failure::local(format!("kubeconfig `{}`: {what}", args.output.display()))
    })?;
    write(&args.output, merged.as_bytes(), true)?;
    eprintln!(
        "wrote contexts [{}] to {}, use it with --kubeconfig or KUBECONFIG",
        names.join(" "),
        args.output.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Ends the session, here and at the gateway.
pub(crate) async fn logout(args: ServerArgs) -> Result<ExitCode, Failure> {
    let server = checked_server(&args.server)?;
    let Some(session) = SavedSession::load(&server)? else {
        eprintln!("not logged in to {server}");
        return Ok(ExitCode::SUCCESS);
    };
    let authority = checked_authority(&args.certificate_authority)?;
    let client = Client::new(&connection(&server, &authority, Some(session.token))?)?;
    let ended = client
        .own_json(&Method::POST, "/dockin/v1/logout", None)
        .await;
    // What the gateway refuses is worthless already.
    SavedSession::forget(&server)?;
    match ended {
        Ok(_) => eprintln!("logged out of {server}"),
        Err(_) => eprintln!("the session is forgotten here; the gateway did not end it"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What kubectl runs to know who its user is.
///
/// Spec: Kubernetes `client.authentication.k8s.io/v1`, `ExecCredential`.
pub(crate) fn credential(args: &CredentialArgs) -> Result<ExitCode, Failure> {
    let (token, expires) = match (&args.server, &args.token_file) {
        (_, Some(path)) => token_of_file(path)?,
        (Some(server), None) => token_of_session(server)?,
        (None, None) => return Err(Failure::usage("give --server or --token-file")),
    };
    let mut status = json!({ "token": token });
    if let (Some(expires), Some(fields)) = (expires, status.as_object_mut()) {
        fields.insert("expirationTimestamp".to_owned(), expires.to_string().into());
    }
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    });
    writeln!(io::stdout(), "{credential}").map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// A token and its end.
type Token = (String, Option<Timestamp>);

fn token_of_session(server: &str) -> Result<Token, Failure> {
    let server = checked_server(server)?;
    let again = |what: &str| {
        Failure::local(format!(
            "{what} {server}: run `dockctl login --server {server}`"
        ))
    };
    let session = SavedSession::load(&server)?.ok_or_else(|| again("you are not logged in to"))?;
    if session.expires <= Timestamp::now() {
        return Err(again("your session has expired with"));
    }
    Ok((session.token, Some(session.expires)))
}

fn token_of_file(path: &Path) -> Result<Token, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::local(format!("cannot read token file `{shown}`: {error}")))?;
    let token = text.trim();
    if token.is_empty() || token.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let what = format!("token file `{shown}` does not have one line with a token");
        return Err(Failure::local(what));
    }
    let expires = end_of(token);
    if expires.is_some_and(|expires| expires <= Timestamp::now()) {
        let what = format!("the token in `{shown}` has expired: run `dockctl oidc-login` again");
        return Err(Failure::local(what));
    }
    Ok((token.to_owned(), expires))
}

/// When a JWT says that it ends; who it is shown to checks that.
fn end_of(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }

    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_second(claims.exp).ok()
}

/// The clusters behind the gateway that the owner of `token` may reach.
pub(crate) async fn clusters(
    server: &str,
    authority: &[u8],
    token: &str,
) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Clusters {
        clusters: Vec<String>,
    }

    let client = Client::new(&connection(server, authority, Some(token.to_owned()))?)?;
    let answer = client
        .own_json(&Method::GET, "/dockin/v1/clusters", None)
        .await?;
    let found: Clusters = serde_json::from_value(answer)
        .map_err(|error| Failure::gateway(format!("the gateway's list of clusters: {error}")))?;
    Ok(found.clusters)
}

/// What is to be in a kubeconfig.
struct Wanted<'a> {
    server: &'a str,
    authority: &'a [u8],
    /// Name of the user entry.
    user: String,
    namespace: Option<&'a str>,
    /// The program that kubectl runs for a token.
    command: String,
}

impl Wanted<'_> {
    /// The kubeconfig of `before` with a context for each of `names`, and none of ours besides.
    /// Whatever else is in it stays, what we do not know included.
    fn merge(&self, before: &str, names: &[String]) -> Result<String, String> {
        let mut config: Map<String, Value> = match before.trim().is_empty() {
            true => Map::new(),
            false => serde_saphyr::from_str(before).map_err(|_| {
                "is no kubeconfig in YAML; write to another file with -o".to_owned()
            })?,
        };
        let ours = |cluster: &Value| {
            let server = text(cluster, "/cluster/server");
            server
                .strip_prefix(self.server)
                .is_some_and(|rest| rest.starts_with("/clusters/"))
        };
        let mut clusters = list(&mut config, "clusters");
        clusters.retain(|one| !ours(one));
        if let Some(other) = clusters.iter().find(|one| is_named(one, names)) {
            let name = text(other, "/name");
            return Err(format!(
                "has another cluster `{name}` already; write to another file with -o"
            ));
        }
        for name in names {
            clusters.push(json!({ "name": name, "cluster": {
                "server": format!("{}/clusters/{}", self.server, percent_encode(name)),
                "certificate-authority-data": STANDARD.encode(self.authority),
            }}));
        }
        let mut contexts = list(&mut config, "contexts");
        contexts.retain(|one| text(one, "/context/user") != self.user);
        if let Some(other) = contexts.iter().find(|one| is_named(one, names)) {
            let name = text(other, "/name");
            return Err(format!(
                "has another context `{name}` already; write to another file with -o"
            ));
        }
        for name in names {
            let mut context = Map::new();
            context.insert("cluster".to_owned(), name.as_str().into());
            context.insert("user".to_owned(), self.user.as_str().into());
            if let Some(namespace) = self.namespace {
                context.insert("namespace".to_owned(), namespace.into());
            }
            contexts.push(json!({ "name": name, "context": context }));
        }
        let there: Vec<String> = contexts
            .iter()
            .map(|one| text(one, "/name").to_owned())
            .collect();
        let mut users = list(&mut config, "users");
        users.retain(|one| text(one, "/name") != self.user);
        let exec = credential_plugin(&self.command, "--server", self.server, "dockctl login");
        users.push(json!({ "name": self.user, "user": { "exec": exec }}));
        for (name, list) in [
            ("clusters", clusters),
            ("contexts", contexts),
            ("users", users),
        ] {
            config.insert(name.to_owned(), list.into());
        }
        config.insert("apiVersion".to_owned(), "v1".into());
        config.insert("kind".to_owned(), "Config".into());
        let current = config.get("current-context").and_then(Value::as_str);
        if !current.is_some_and(|current| there.iter().any(|one| one == current)) {
            let first = there.first().cloned().unwrap_or_default();
            config.insert("current-context".to_owned(), first.into());
        }
        serde_saphyr::to_string(&config).map_err(|error| error.to_string())
    }
}

fn is_named(entry: &Value, names: &[String]) -> bool {
    let name = text(entry, "/name");
    names.iter().any(|one| one == name)
}

/// The text at a place, empty when there is none.
fn text<'a>(entry: &'a Value, place: &str) -> &'a str {
    entry
        .pointer(place)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Takes the list of that name out.
fn list(config: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match config.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn connection(
    server: &str,
    authority: &[u8],
    token: Option<String>,
) -> Result<Connection, Failure> {
    let server = server
        .parse()
        .map_err(|error| Failure::usage(format!("server `{server}` is no URL: {error}")))?;
    Ok(Connection {
        server,
        authority: Some(authority.to_owned()),
        server_name: None,
        // That of the environment, when it names one.
        proxy_url: None,
        insecure: false,
        token,
        client_certificate: None,
        namespace: None,
    })
}

fn password(args: &LoginArgs) -> Result<String, Failure> {
    let unread = |error: io::Error| Failure::local(format!("cannot read the password: {error}"));
    let mut text = String::new();
    match &args.password_file {
        Some(path) if path == Path::new("-") => {
            io::stdin().read_to_string(&mut text).map_err(unread)?;
        }
        Some(path) => {
            text = fs::read_to_string(path).map_err(unread)?;
        }
        None if terminal::is_input_terminal() => {
            let hidden = HiddenInput::begin().map_err(unread)?;
            eprint!("password of {} at {}: ", args.user, args.server);
            io::stdin().lock().read_line(&mut text).map_err(unread)?;
            drop(hidden);
            eprintln!();
        }
        None => {
            let fix =
                "standard input is no terminal: give --password-file, or - for what comes there";
            return Err(Failure::usage(fix));
        }
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// This program, by a path that holds whatever the working directory is.
pub(crate) fn own_path() -> String {
    let own = env::current_exe().ok();
    let own = own.and_then(|path| path.into_os_string().into_string().ok());
    own.unwrap_or_else(|| "dockctl".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jiff::Timestamp;
    use serde_json::Value;

    use super::{Wanted, token_of_file};

    #[test]
    fn the_token_of_a_file_is_given_with_its_end_and_not_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            token_of_file(&path).map_err(|failure| failure.to_string())
        };
        let jwt = |end: i64| {
            let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}"));
            format!("e30.{claims}.c2ln")
        };
        let end = Timestamp::now().as_second() + 600;
        let (token, expires) = of(&format!("{}\n", jwt(end))).unwrap();
        assert_eq!(token, jwt(end));
        assert_eq!(expires.map(Timestamp::as_second), Some(end));
        // What is no JWT has an end that only the gateway knows.
        assert_eq!(of("dk_secret\n").unwrap(), ("dk_secret".to_owned(), None));
        for (text, words) in [
            (jwt(1), "oidc-login"),
            (String::new(), "one line"),
            ("dk_secret\ndk_other".to_owned(), "one line"),
        ] {
            let told = of(&text).unwrap_err();
            assert!(told.contains(words) && !told.contains("secret"), "{told}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(token_of_file(&path).is_err());
    }

    fn wanted() -> Wanted<'static> {
        Wanted {
            server: "https://gate:6443",
            authority: b"PEM",
            user: "dockin-alice".to_owned(),
            namespace: None,
            command: "/bin/dockctl".to_owned(),
        }
    }

    fn names(of: &Value, list: &str) -> Vec<String> {
        let all = of[list].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn merge(before: &str, clusters: &[&str]) -> Result<Value, String> {
        let clusters: Vec<String> = clusters.iter().map(|one| (*one).to_owned()).collect();
        let text = wanted().merge(before, &clusters)?;
        Ok(serde_saphyr::from_str(&text).unwrap())
    }

    const FOREIGN: &str = "
apiVersion: v1
kind: Config
current-context: home
preferences: { colors: true }
clusters: [ { name: home, cluster: { server: \"https://home:6443\", extensions: [] } } ]
contexts: [ { name: home, context: { cluster: home, user: me } } ]
users: [ { name: me, user: { token: t } } ]
";

    #[test]
    fn a_new_file_has_exactly_the_clusters_and_no_token() {
        let config = merge("", &["a", "b c"]).unwrap();
        assert_eq!(names(&config, "contexts"), ["a", "b c"]);
        assert_eq!(
            config["clusters"][1]["cluster"]["server"],
            "https://gate:6443/clusters/b%20c"
        );
        assert_eq!(config["current-context"], "a");
        let text = config.to_string();
        assert!(text.contains("client.authentication.k8s.io/v1"), "{text}");
        assert!(
            !text.contains("\"token\"") && !text.contains("insecure"),
            "{text}"
        );
    }

    #[test]
    fn what_is_of_others_stays_and_what_is_ours_follows() {
        let first = wanted()
            .merge(FOREIGN, &["a".to_owned(), "b".to_owned()])
            .unwrap();
        let second = merge(&first, &["b", "c"]).unwrap();
        assert_eq!(names(&second, "contexts"), ["home", "b", "c"]);
        assert_eq!(names(&second, "clusters"), ["home", "b", "c"]);
        assert_eq!(names(&second, "users"), ["me", "dockin-alice"]);
        assert_eq!(second["current-context"], "home");
        assert_eq!(second["preferences"]["colors"], true);
        assert_eq!(
            second["clusters"][0]["cluster"]["server"],
            "https://home:6443"
        );
    }

    #[test]
    fn a_name_that_is_taken_and_what_is_no_kubeconfig_change_nothing() {
        for (before, clusters, words) in [
            (FOREIGN, &["home"][..], "`home`"),
            ("[", &["a"], "no kubeconfig"),
            ("- x", &["a"], "no kubeconfig"),
        ] {
            let error = merge(before, clusters).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
