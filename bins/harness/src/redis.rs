use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{eventually, run};

/// A real Redis of the test's own on loopback, which keeps nothing on disk. It ends when its owner
/// goes.
pub struct Redis {
    host: String,
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Redis {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts it with the arguments that are made for its address.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(arguments: impl FnOnce(&str) -> Vec<String>) -> Self {
        // An address of its own: on 127.0.0.1 another program's connection may take the port while
        // the server is away.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let [_, _, _, number] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let host = Ipv4Addr::new(127, (high & 0x3f) | 0x40, low, number);
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let host = host.to_string();
        let arguments = arguments(&host);
        let child = spawn(&host, port, &arguments);
        let redis = Self {
            host,
            port,
            arguments,
            child,
        };
        redis.answers();
        redis
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// Runs a command of `redis-cli`; gives what it prints.
    ///
    /// # Panics
    ///
    /// There is no `redis-cli`.
    #[must_use]
    pub fn call(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-h", &self.host, "-p", &port]).args(words);
        String::from_utf8_lossy(&run(&mut command).stdout)
            .trim()
            .to_owned()
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // It may have ended on its own.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Starts it again where it was, with nothing in it.
    ///
    /// # Panics
    ///
    /// It does not answer.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.host, self.port, &self.arguments);
        self.answers();
    }

    /// Lets it hang: connections are accepted, and nothing is answered.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        assert!(matches!(sent, Some(Ok(()))), "redis-server has gone");
    }

    fn answers(&self) {
        // One that wants a password says so.
        let up = || !self.call(&["ping"]).is_empty();
        assert!(
            eventually(Duration::from_secs(60), up),
            "redis-server does not answer"
        );
    }
}

fn spawn(host: &str, port: u16, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", host, "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "no"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install redis-server"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
