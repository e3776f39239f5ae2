use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dockin_core::{
    kubernetes::{Kubeconfig, credential_plugin},
    percent_encode,
};
use http::Uri;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{block_on, login};
use crate::{
    failure::Failure,
    kubeconfig::{
        Cluster, Context, KubeConfig, NamedCluster, NamedContext, NamedUser, User, is_loopback,
    },
    low_args::KubeconfigArgs,
    saved_session::SavedSession,
};

/// Writes a kubeconfig with one context for each cluster.
pub(crate) fn run(args: &KubeconfigArgs) -> Result<ExitCode, Failure> {
    let authority = checked_authority(&args.certificate_authority)?;
    let (text, replace) = match &args.token_file {
        None => (of_session(args, &authority)?, args.force),
        Some(file) => {
            let config = with_token(args, file, &authority)?;
            let text = serde_saphyr::to_string(&config)
                .map_err(|error| Failure::local(format!("cannot write the kubeconfig: {error}")))?;
            let replace = args.force || holds_no_more_than(&args.output, &config);
            (text, replace)
        }
    };
    if args.output.as_os_str() == "-" {
        io::stdout()
            .write_all(text.as_bytes())
            .and_then(|()| io::stdout().flush())
            .map_err(|error| Failure::output(&error))?;
    } else {
        write(&args.output, text.as_bytes(), replace)?;
        eprintln!(
            "wrote {}, use it with --kubeconfig or KUBECONFIG",
            args.output.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The kubeconfig of who has logged in, without a token: the same that the gateway gives to a
/// browser.
fn of_session(args: &KubeconfigArgs, authority: &[u8]) -> Result<String, Failure> {
    let server = checked_server(&args.server)?;
    let session = SavedSession::load(&server)?.ok_or_else(|| {
        let what = format!(
            "you are not logged in to {server}: run `dockctl login --server {server}`, or give \
             --token-file"
        );
        Failure::local(what)
    })?;
    let clusters = block_on(login::clusters(&server, authority, &session.token))?;
    let config = Kubeconfig {
        server: &server,
        authority,
        user: &session.user,
        clusters: &clusters,
        namespace: args.namespace.as_deref(),
    };
    config
        .to_yaml()
        .map_err(|error| Failure::local(error.chain()))
}

fn with_token(args: &KubeconfigArgs, file: &Path, authority: &[u8]) -> Result<KubeConfig, Failure> {
    let token = if file.as_os_str() == "-" {
        let mut token = String::new();
        io::stdin()
            .read_to_string(&mut token)
            .map_err(|error| Failure::local(format!("cannot read the token: {error}")))?;
        token
    } else {
        fs::read_to_string(file).map_err(|error| {
            Failure::local(format!(
                "cannot read token file `{}`: {error}",
                file.display()
            ))
        })?
    };
    if !args.all {
        return build(args, token.trim(), authority);
    }
    let server = checked_server(&args.server)?;
    let names = block_on(login::clusters(&server, authority, token.trim()))?;
    if names.is_empty() {
        let what = "this token lets one reach no cluster behind the gateway";
        return Err(Failure::gateway(what));
    }
    let named = KubeconfigArgs {
        cluster: names,
        ..args.clone()
    };
    build(&named, token.trim(), authority)
}

fn build(args: &KubeconfigArgs, token: &str, authority: &[u8]) -> Result<KubeConfig, Failure> {
    if token.is_empty() || token.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Failure::local("the token must be one line of text"));
    }
    let server = checked_server(&args.server)?;
    let clusters: Vec<(String, String)> = if args.cluster.is_empty() {
        vec![("dockin".to_owned(), server.to_owned())]
    } else {
        args.cluster
            .iter()
            .map(|name| {
                let path = percent_encode(name);
                (name.clone(), format!("{server}/clusters/{path}"))
            })
            .collect()
    };
    let current_context = clusters
        .first()
        .map(|(name, _)| name.clone())
        .unwrap_or_default();
    let mut config = KubeConfig {
        api_version: "v1".to_owned(),
        kind: "Config".to_owned(),
        current_context,
        ..KubeConfig::default()
    };
    for (name, server) in clusters {
        if config.clusters.iter().any(|cluster| cluster.name == name) {
            return Err(Failure::usage(format!("cluster `{name}` is named twice")));
        }
        config.contexts.push(NamedContext {
            name: name.clone(),
            context: Context {
                cluster: name.clone(),
                user: args.user.clone(),
                namespace: args.namespace.clone(),
            },
        });
        config.clusters.push(NamedCluster {
            name,
            cluster: Cluster {
                server,
                certificate_authority_data: Some(STANDARD.encode(authority)),
                ..Cluster::default()
            },
        });
    }
    let user = if args.credential_plugin {
        User {
            exec: Some(plugin_for(
                args.token_file.as_deref().unwrap_or(Path::new("-")),
            )?),
            ..User::default()
        }
    } else {
        User {
            token: Some(token.to_owned()),
            ..User::default()
        }
    };
    config.users.push(NamedUser {
        name: args.user.clone(),
        user,
    });
    Ok(config)
}

/// How kubectl is to ask for the token in the file at `path`.
fn plugin_for(path: &Path) -> Result<serde_json::Value, Failure> {
    let absolute = fs::canonicalize(path).ok();
    let absolute = absolute.as_deref().and_then(Path::to_str).ok_or_else(|| {
        Failure::usage("--credential-plugin needs the name of a file with --token-file")
    })?;
    let (command, hint) = (login::own_path(), "dockctl oidc-login");
    Ok(credential_plugin(&command, "--token-file", absolute, hint))
}

/// The gateway's address without a slash at its end.
pub(crate) fn checked_server(server: &str) -> Result<String, Failure> {
    let server = server.trim_end_matches('/');
    let address: Uri = server
        .parse()
        .map_err(|error| Failure::usage(format!("server `{server}` is no URL: {error}")))?;
    let host = address.host().unwrap_or_default();
    match address.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        _ => {
            return Err(Failure::usage(format!(
                "server `{server}` must start with https://"
            )));
        }
    }
    Ok(server.to_owned())
}

/// The certificates of the file at `path`, PEM.
pub(crate) fn checked_authority(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let authority = fs::read(path)
        .map_err(|error| Failure::local(format!("cannot read `{shown}`: {error}")))?;
    match CertificateDer::pem_slice_iter(&authority).next() {
        Some(Ok(_)) => Ok(authority),
        _ => Err(Failure::local(format!(
            "`{shown}` holds no certificate in PEM"
        ))),
    }
}

/// Whether there is an older kubeconfig at `path` all of whose entries `config` has, too, so that
/// nothing is lost with it: a new token for the same gateway.
fn holds_no_more_than(path: &Path, config: &KubeConfig) -> bool {
    let Ok(old) = KubeConfig::load(&[path.to_owned()]) else {
        return false;
    };
    old.clusters
        .iter()
        .all(|old| config.clusters.iter().any(|new| new.name == old.name))
        && old
            .contexts
            .iter()
            .all(|old| config.contexts.iter().any(|new| new.name == old.name))
        && old
            .users
            .iter()
            .all(|old| config.users.iter().any(|new| new.name == old.name))
        && !old.users.is_empty()
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::local(format!("cannot write `{}`: {error}", path.display()));
    if !replace && path.symlink_metadata().is_ok() {
        return Err(Failure::local(format!(
            "`{}` is there already and has other entries, name another with -o or write over it with --force",
            path.display()
        )));
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let scratch = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&scratch)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| {
            if replace {
                fs::rename(&scratch, path)
            } else {
                // Unlike a rename this does not replace a file that has come up meanwhile.
                fs::hard_link(&scratch, path)
            }
        });
    // Gone already after a rename.
    let _renamed = fs::remove_file(&scratch);
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use clap::Parser as _;

    use super::{build, checked_authority, holds_no_more_than, write};
    use crate::{
        kubeconfig::KubeConfig,
        low_args::{CommandArgs, KubeconfigArgs, LowArgs},
    };

    const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn args(more: &[&str]) -> KubeconfigArgs {
        let mut line = vec![
            "dockctl",
            "kubeconfig",
            "--server=https://127.0.0.1:6443/",
            "--certificate-authority=ca.pem",
            "--token-file=-",
        ];
        line.extend(more);
        match LowArgs::try_parse_from(line).unwrap().command {
            CommandArgs::Kubeconfig(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_connects_to_each_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let config = build(
            &args(&["--cluster=local", "--cluster=prod", "-n", "dev"]),
            "secret",
            PEM,
        )
        .unwrap();
        write(
            &path,
            serde_saphyr::to_string(&config).unwrap().as_bytes(),
            false,
        )
        .unwrap();

        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = KubeConfig::load(&[path]).unwrap();
        let local = read.resolve(None, None).unwrap();
        assert_eq!(
            local.server.to_string(),
            "https://127.0.0.1:6443/clusters/local"
        );
        assert_eq!(local.authority.as_deref(), Some(PEM));
        assert_eq!(local.token.as_deref(), Some("secret"));
        assert_eq!(local.namespace.as_deref(), Some("dev"));
        let prod = read.resolve(Some("prod"), None).unwrap();
        assert_eq!(prod.server.path(), "/clusters/prod");
    }

    #[test]
    fn a_file_that_is_there_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, "mine").unwrap();
        assert!(write(&path, b"new", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        write(&path, b"new", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_token_for_the_same_gateway_may_take_the_olds_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let one = build(&args(&["--cluster=a"]), "old", PEM).unwrap();
        let two = build(&args(&["--cluster=a", "--cluster=b"]), "new", PEM).unwrap();
        assert!(!holds_no_more_than(&path, &one));
        fs::write(&path, serde_saphyr::to_string(&one).unwrap()).unwrap();
        assert!(holds_no_more_than(&path, &two));
        fs::write(&path, serde_saphyr::to_string(&two).unwrap()).unwrap();
        assert!(!holds_no_more_than(&path, &one));
        fs::write(&path, "notes").unwrap();
        assert!(!holds_no_more_than(&path, &one));
    }

    #[test]
    fn bad_pieces_are_refused() {
        assert!(build(&args(&[]), "", PEM).is_err());
        assert!(build(&args(&[]), "two\nlines", PEM).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(checked_authority(&path).is_err());
        fs::write(&path, "no certificate").unwrap();
        assert!(checked_authority(&path).is_err());
        fs::write(&path, PEM).unwrap();
        assert!(checked_authority(&path).is_ok());
        assert!(build(&args(&["--cluster=a", "--cluster=a"]), "secret", PEM).is_err());
        let mut plain = args(&[]);
        plain.server = "http://gateway.example".to_owned();
        assert!(build(&plain, "secret", PEM).is_err());
    }
}
