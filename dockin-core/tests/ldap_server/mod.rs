//! A slapd of our own.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A directory server with the entries of `directory.ldif`, which ends with its owner.
pub(crate) struct Slapd {
    child: Child,
    folder: tempfile::TempDir,
    /// Port in plain and for StartTLS.
    pub(crate) plain: u16,
    /// Port with TLS from the start.
    pub(crate) tls: u16,
}

/// The service's password; a line's end follows it in the file.
pub(crate) const SERVICE_PASSWORD: &str = "r3ader \u{e4}(*)";

impl Slapd {
    /// Starts it; its referrals point to `elsewhere`.
    pub(crate) fn start(elsewhere: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).expect("issued");
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        write("ca.pem", &issued.cert.pem());
        write("key.pem", &issued.signing_key.serialize_pem());
        let stranger =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("issued");
        write("stranger.pem", &stranger.cert.pem());
        write("password", &format!("{SERVICE_PASSWORD}\n"));
        std::fs::create_dir(path("data")).expect("a folder");
        let folder_name = folder.path().display().to_string();
        write(
            "slapd.conf",
            &include_str!("slapd.conf").replace("@FOLDER@", &folder_name),
        );
        let mut ldif = include_str!("directory.ldif")
            .replace("@ELSEWHERE@", &elsewhere.to_string())
            .replace("@SERVICE_PASSWORD@", SERVICE_PASSWORD);
        for number in 0..12 {
            ldif.push_str(&format!(
                "\ndn: cn=crowd{number},ou=groups,dc=dockin,dc=test\nobjectClass: groupOfNames\n\
                 cn: crowd{number}\nmember: uid=frank,ou=people,dc=dockin,dc=test\n"
            ));
        }
        write("directory.ldif", &ldif);
        let added = program("slapadd")
            .arg("-q")
            .arg("-f")
            .arg(path("slapd.conf"))
            .arg("-l")
            .arg(path("directory.ldif"))
            .output()
            .expect("slapadd: of the package slapd");
        let told = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(added.status.success(), "slapadd: {told}");
        // Somebody may take a free port before slapd does.
        for _ in 0..5 {
            let (plain, tls) = (free_port(), free_port());
            let mut child = program("slapd")
                .arg("-f")
                .arg(path("slapd.conf"))
                .arg("-h")
                .arg(format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}"))
                .args(["-d", "0"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("slapd: of the package slapd");
            if listens(&mut child, plain) && listens(&mut child, tls) {
                return Self {
                    child,
                    folder,
                    plain,
                    tls,
                };
            }
            // Both fail when it has ended already.
            let _ended = child.kill();
            let _gone = child.wait();
        }
        panic!("slapd does not start");
    }

    /// A file of its folder: `ca.pem`, `stranger.pem`, `password`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ended = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Debian keeps daemons where a user's PATH does not look.
fn program(name: &str) -> Command {
    let here = PathBuf::from("/usr/sbin").join(name);
    Command::new(if here.exists() { here } else { name.into() })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn listens(child: &mut Child, port: u16) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
