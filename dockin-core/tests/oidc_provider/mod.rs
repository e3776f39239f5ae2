//! A real OpenID Connect provider, and a person with a browser.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

/// The provider, which ends with its owner.
pub(crate) struct Provider {
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    folder: tempfile::TempDir,
    /// Its `https` URL.
    pub(crate) issuer: String,
}

impl Provider {
    /// Starts it with keys and a certificate of its own.
    pub(crate) fn start() -> Self {
        let installed = std::env::var_os("DOCKIN_TEST_OIDC_PROVIDER").expect(
            "DOCKIN_TEST_OIDC_PROVIDER: run these tests by `cargo xtask test`, or take the \
             exports of `cargo xtask servers`",
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let modules = Path::new(&installed).join("node_modules");
        std::os::unix::fs::symlink(modules, path("node_modules")).expect("a link");
        std::fs::write(path("package.json"), include_str!("package.json")).expect("written");
        std::fs::write(path("provider.mjs"), include_str!("provider.mjs")).expect("written");
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("issued");
        std::fs::write(path("ca.pem"), issued.cert.pem()).expect("written");
        std::fs::write(path("key.pem"), issued.signing_key.serialize_pem()).expect("written");
        let mut child = Command::new("node")
            .args([path("provider.mjs"), path("ca.pem"), path("key.pem")])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(path("log")).expect("a log"))
            .spawn()
            .expect("node: installed by `cargo xtask test`");
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut issuer = String::new();
        stdout.read_line(&mut issuer).expect("text");
        let issuer = issuer.trim().to_owned();
        let log = std::fs::read_to_string(path("log")).unwrap_or_default();
        assert!(
            issuer.starts_with("https://"),
            "the provider does not start: {issuer}\n{log}"
        );
        Self {
            child,
            talk: Mutex::new((stdin, stdout)),
            folder,
            issuer,
        }
    }

    /// The file of the authority that its certificate is from.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Gives it a command and returns its answer.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut talk = self.talk.lock().expect("nobody panics in here");
        writeln!(talk.0, "{command}").expect("it listens");
        let mut answer = String::new();
        talk.1.read_line(&mut answer).expect("it answers");
        answer.trim().to_owned()
    }

    /// Logs `person` in at `url` with a browser of its own, and says yes to everything. Returns
    /// the address outside of the provider that the browser is sent to at last.
    pub(crate) fn browse(&self, url: &str, person: &str) -> String {
        let jar = tempfile::NamedTempFile::new_in(self.folder.path()).expect("a file");
        let jar = jar.path();
        let mut page = self.follow(url, None, jar);
        for form in [
            format!("prompt=login&login={person}&password=any"),
            "prompt=consent".to_owned(),
        ] {
            match page {
                Page::Outside(url) => return url,
                Page::Inside(at) => page = self.follow(&at, Some(&form), jar),
            }
        }
        match page {
            Page::Outside(url) => url,
            Page::Inside(at) => panic!("the browser is still at {at}"),
        }
    }

    fn follow(&self, url: &str, form: Option<&str>, jar: &Path) -> Page {
        let mut url = url.to_owned();
        let mut form = form;
        for _ in 0..10 {
            let mut curl = Command::new("curl");
            curl.args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--output",
                "/dev/null",
            ])
            .args(["--write-out", "%{http_code} %{redirect_url}"])
            .arg("--cacert")
            .arg(self.authority())
            .arg("--cookie-jar")
            .arg(jar)
            .arg("--cookie")
            .arg(jar);
            if let Some(form) = form.take() {
                curl.args(["--data", form]);
            }
            let output = curl.arg(&url).output().expect("curl");
            let text = String::from_utf8_lossy(&output.stdout);
            let told = String::from_utf8_lossy(&output.stderr);
            let (code, next) = text.split_once(' ').unwrap_or_default();
            match (code, next) {
                ("200", "") => return Page::Inside(url),
                ("302" | "303", next) if next.starts_with(&self.issuer) => url = next.to_owned(),
                ("302" | "303", next) => return Page::Outside(next.to_owned()),
                _ => panic!("the provider answered {text} to {url}: {told}"),
            }
        }
        panic!("the provider redirects without end");
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ended = self.child.kill();
        let _gone = self.child.wait();
    }
}

enum Page {
    Inside(String),
    Outside(String),
}
