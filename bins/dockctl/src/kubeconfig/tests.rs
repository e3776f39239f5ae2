#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{fs, path::Path};

use super::{KubeConfig, is_loopback};
use crate::failure::USAGE;

const TWO_CLUSTERS: &str = r"
apiVersion: v1
kind: Config
current-context: local
preferences: {}
clusters:
- name: local
  cluster: { server: 'https://127.0.0.1:6443/clusters/local', certificate-authority-data: UEVN }
- name: prod
  cluster: { server: 'https://gateway.example:6443/clusters/prod', certificate-authority: ca.pem }
contexts:
- name: local
  context: { cluster: local, user: alice, namespace: dev }
- name: prod
  context: { cluster: prod, user: alice }
users:
- name: alice
  user: { token: first-token }
";

fn parse(text: &str) -> KubeConfig {
    KubeConfig::parse(text, Path::new("/config")).unwrap()
}

#[test]
fn the_current_context_is_taken_unless_another_is_named() {
    let config = parse(TWO_CLUSTERS);
    let local = config.resolve(None, None).unwrap();
    assert_eq!(local.server.path(), "/clusters/local");
    assert_eq!(local.authority.as_deref(), Some(&b"PEM"[..]));
    assert_eq!(local.token.as_deref(), Some("first-token"));
    assert_eq!(local.namespace.as_deref(), Some("dev"));

    let failure = config.resolve(Some("staging"), None).unwrap_err();
    assert_eq!(failure.code(), USAGE);
    assert_eq!(
        failure.to_string(),
        "no context `staging` in the kubeconfig: it has [local prod]"
    );
}

#[test]
fn a_named_cluster_takes_the_place_of_the_contexts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), "authority").unwrap();
    let config = KubeConfig::parse(TWO_CLUSTERS, folder.path()).unwrap();
    let prod = config.resolve(None, Some("prod")).unwrap();
    assert_eq!(prod.server.host(), Some("gateway.example"));
    assert_eq!(prod.authority.as_deref(), Some(&b"authority"[..]));
}

#[test]
fn of_two_files_the_first_wins_and_missing_ones_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let second = folder.path().join("second");
    fs::write(
        &first,
        "users: [{ name: alice, user: { token: from-first } }]\nclusters: null\n",
    )
    .unwrap();
    fs::write(&second, TWO_CLUSTERS).unwrap();
    let config = KubeConfig::load(&[folder.path().join("none"), first, second]).unwrap();
    assert_eq!(
        config.resolve(None, None).unwrap().token.as_deref(),
        Some("from-first")
    );

    let none = KubeConfig::load(&[folder.path().join("none")]).unwrap_err();
    assert!(none.to_string().starts_with("no kubeconfig at `"), "{none}");
}

#[test]
fn a_token_file_is_read_and_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "secret\n").unwrap();
    let text = TWO_CLUSTERS.replace("token: first-token", "tokenFile: token, token: old");
    let config = KubeConfig::parse(&text, folder.path()).unwrap();
    assert_eq!(
        config.resolve(None, None).unwrap().token.as_deref(),
        Some("secret")
    );
}

#[test]
fn an_unchecked_certificate_is_for_loopback_only() {
    let skip = |server: &str| {
        let text = format!(
            "current-context: c\nclusters: [{{ name: c, cluster: {{ server: '{server}', insecure-skip-tls-verify: true }} }}]\ncontexts: [{{ name: c, context: {{ cluster: c, user: '' }} }}]\n"
        );
        parse(&text).resolve(None, None)
    };
    assert!(skip("https://127.0.0.1:6443").unwrap().insecure);
    assert!(skip("https://[::1]:6443").unwrap().insecure);
    let failure = skip("https://gateway.example").unwrap_err();
    assert!(
        failure
            .to_string()
            .contains("insecure-skip-tls-verify is refused for `gateway.example`")
    );
    assert!(skip("http://gateway.example").is_err());
    assert!(!is_loopback("localhost.example"));
    assert!(!is_loopback("127.0.0.1.example"));
}

#[test]
fn what_cannot_be_done_is_said_by_name() {
    for (user, what) in [
        ("exec: { command: login }", "`exec` needs"),
        (
            "exec: { apiVersion: client.authentication.k8s.io/v1, command: /no/such }",
            "cannot run `/no/such`",
        ),
        (
            "exec: { apiVersion: client.authentication.k8s.io/v1, command: 'false' }",
            "`false` gave no token",
        ),
        (
            "exec: { apiVersion: client.authentication.k8s.io/v1, command: echo, args: [x] }",
            "printed no ExecCredential",
        ),
        ("username: bob, password: x", "`username` is not supported"),
        (
            "client-certificate-data: UEVN",
            "client-certificate without client-key",
        ),
        ("client-key-data: '%'", "client-key-data is not base64"),
    ] {
        let text = TWO_CLUSTERS.replace("token: first-token", user);
        let failure = parse(&text).resolve(None, None).unwrap_err();
        assert!(failure.to_string().contains(what), "{failure}");
    }
}

#[test]
fn a_credential_plugin_gives_the_token() {
    let plugin = r#"exec: { apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'echo "{ \"status\": { \"token\": \"$MADE\" } }"'], env: [ { name: MADE, value: fresh } ] }"#;
    let text = TWO_CLUSTERS.replace("token: first-token", plugin);
    let connection = parse(&text).resolve(None, None).unwrap();
    assert_eq!(connection.token.as_deref(), Some("fresh"));
}

#[test]
fn an_error_in_the_file_does_not_quote_the_token() {
    let text = "users: [{ name: alice, user: { token: [very-secret] } }]\n";
    let error = KubeConfig::parse(text, Path::new("")).unwrap_err();
    assert!(error.starts_with("not a kubeconfig"), "{error}");
    assert!(!error.contains("very-secret"), "{error}");
    assert!(!format!("{:?}", parse(TWO_CLUSTERS)).contains("first-token"));
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let config = parse(TWO_CLUSTERS);
    let text = serde_saphyr::to_string(&config).unwrap();
    let again = KubeConfig::parse(&text, Path::new("/elsewhere")).unwrap();
    assert_eq!(again.current_context, "local");
    assert_eq!(again.clusters.len(), 2);
    assert_eq!(again.users[0].user.token.as_deref(), Some("first-token"));
    // Written as an absolute path, so it means the same everywhere.
    assert_eq!(
        again.clusters[1].cluster.certificate_authority.as_deref(),
        Some(Path::new("/config/ca.pem"))
    );
}
