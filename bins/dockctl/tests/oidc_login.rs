//! `dockctl oidc-login` with a real provider; the person's browser is curl.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../../../dockin-core/tests/oidc_provider/mod.rs"]
mod oidc_provider;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use oidc_provider::Provider;

/// A login that waits for its browser.
struct Waiting {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What the person opens.
    url: String,
    /// Where it listens, as HOST:PORT.
    listener: String,
}

impl Waiting {
    fn start(provider: &Provider, token_file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dockctl"))
            .args([
                "oidc-login",
                "--client-id",
                "dockctl",
                "--scope",
                "email",
                "--issuer",
            ])
            .arg(&provider.issuer)
            .arg("--certificate-authority")
            .arg(provider.authority())
            .arg("--token-file")
            .arg(token_file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut url = String::new();
        while !url.starts_with("https://") {
            url.clear();
            assert!(
                stderr.read_line(&mut url).unwrap() > 0,
                "it ended without an address"
            );
        }
        let url = url.trim().to_owned();
        let (_, port) = url
            .split_once("redirect_uri=http%3A%2F%2F127.0.0.1%3A")
            .unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Self {
            child,
            stderr,
            url,
            listener: format!("127.0.0.1:{port}"),
        }
    }

    fn ask(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(&self.listener).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str) -> String {
        self.ask(&format!(
            "GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n",
            self.listener
        ))
    }

    /// Its exit code and everything that it said from now on.
    fn finish(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let output = self.child.wait_with_output().unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        (output.status.code(), said)
    }
}

#[test]
fn a_person_logs_in_through_the_browser_and_the_token_is_in_a_private_file() {
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let waiting = Waiting::start(&provider, &file);
    // What else a browser or a page in it may send does not end the login, and is not shown.
    let mute = TcpStream::connect(&waiting.listener).unwrap();
    for target in [
        "/",
        "/favicon.ico",
        "/callback?code=x&state=%3Cb%3E",
        "/callback?error=access_denied",
    ] {
        let answer = waiting.get(target);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(
            !answer.contains("%3Cb%3E") && !answer.contains("<b>"),
            "{answer}"
        );
    }
    assert!(
        waiting
            .ask("POST /callback HTTP/1.1\r\n\r\n")
            .starts_with("HTTP/1.1 404 ")
    );
    let back = provider.browse(&waiting.url, "alice");
    let target = back
        .strip_prefix(&format!("http://{}", waiting.listener))
        .unwrap();
    let page = waiting.get(target);
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.contains("logged in"),
        "{page}"
    );
    let (code, said) = waiting.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("logged in as alice until "), "{said}");
    drop(mute);
    let token = fs::read_to_string(&file).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(token.trim().split('.').count(), 3);
    assert!(!said.contains(token.trim()));
}

#[test]
fn a_person_who_says_no_gets_no_token() {
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let waiting = Waiting::start(&provider, &file);
    let (_, state) = waiting.url.split_once("state=").unwrap();
    let state = state.split('&').next().unwrap();
    let issuer = &provider.issuer;
    let refusal = format!("/callback?error=access_denied&state={state}&iss={issuer}");
    let page = waiting.get(&refusal);
    assert!(page.starts_with("HTTP/1.1 403 "), "{page}");
    let (code, said) = waiting.finish();
    assert_eq!(code, Some(255), "{said}");
    assert!(said.contains("access_denied"), "{said}");
    assert!(!file.exists());
    // Asked where its pages are, and then for nothing.
    assert_eq!(provider.tell("requests"), "1");
}

#[test]
fn an_issuer_that_is_not_one_is_told_before_anybody_opens_a_browser() {
    let provider = Provider::start();
    for (issuer, code, word) in [
        ("http://127.0.0.1:1", 2, "https"),
        ("https://127.0.0.1:1", 255, "cannot be reached"),
        (provider.issuer.as_str(), 255, "TLS"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dockctl"))
            .args([
                "oidc-login",
                "--client-id",
                "dockctl",
                "--token-file",
                "/nowhere/token",
            ])
            .args(["--issuer", issuer])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
