use bytes::Bytes;

use crate::{ExitStatus, TerminalSize};

/// What the two sides of a session say to each other, whatever protocol carries it.
///
/// From the client come `Stdin`, `HalfClose`, `Resize` and `Close`; from the container come
/// `Stdout`, `Stderr`, `Exit` and `Close`. Payloads share the allocation they were read into.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Bytes for the process's standard input. Never empty.
    Stdin(Bytes),
    /// Bytes of the process's standard output. Never empty.
    Stdout(Bytes),
    /// Bytes of the process's standard error. Never empty.
    Stderr(Bytes),
    /// The client's terminal has this size now. Ignored without a TTY.
    Resize(TerminalSize),
    /// Standard input has ended; output goes on.
    HalfClose,
    /// The one terminal status, after the last output byte.
    Exit(ExitStatus),
    /// The peer has said goodbye in its protocol's way; nothing follows.
    Close,
}

impl Event {
    /// Payload bytes, 0 for events without any.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Stdin(bytes) | Self::Stdout(bytes) | Self::Stderr(bytes) => bytes.len(),
            Self::Resize(_) | Self::HalfClose | Self::Exit(_) | Self::Close => 0,
        }
    }

    /// Whether the event carries no payload bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One of the two output streams of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
// Exhaustive: a process has exactly these two.
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// The event that carries `bytes` on this stream.
    #[must_use]
    pub fn event(self, bytes: Bytes) -> Event {
        match self {
            Self::Stdout => Event::Stdout(bytes),
            Self::Stderr => Event::Stderr(bytes),
        }
    }
}

/// Which streams a session was asked to carry.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct StreamSet {
    /// Standard input is connected.
    pub stdin: bool,
    /// Standard output is connected.
    pub stdout: bool,
    /// Standard error is connected; never together with `tty`.
    pub stderr: bool,
    /// The process gets a terminal, and resize events count.
    pub tty: bool,
}

impl StreamSet {
    /// The streams that a query asks for, in an apiserver's names (`stdin=true`) or a kubelet's
    /// (`input=1`).
    ///
    /// Spec: Kubernetes `PodExecOptions`; `k8s.io/kubelet/pkg/cri/streaming/remotecommand`.
    #[must_use]
    pub fn from_query(query: &str) -> Self {
        let asked = |names: [&str; 2]| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .filter(|(name, _)| names.contains(name))
                .any(|(_, value)| matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T"))
        };
        Self {
            stdin: asked(["stdin", "input"]),
            stdout: asked(["stdout", "output"]),
            stderr: asked(["stderr", "error"]),
            tty: asked(["tty", "tty"]),
        }
    }

    /// Drops standard error when a terminal is asked for, as the Kubernetes servers do.
    #[must_use]
    pub const fn normalized(mut self) -> Self {
        if self.tty {
            self.stderr = false;
        }
        self
    }

    /// Whether at least one stream is asked for; a request without any is refused.
    #[must_use]
    pub const fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Event, StreamSet};
    use crate::TerminalSize;

    #[test]
    fn a_query_asks_in_the_names_of_an_apiserver_or_of_a_kubelet() {
        let all = StreamSet {
            stdin: true,
            stdout: true,
            stderr: true,
            tty: true,
        };
        for query in [
            "command=sh&stdin=true&stdout=true&stderr=true&tty=true",
            "input=1&output=1&error=1&tty=1",
            "stdin=T&stdin=false&output=TRUE&stderr=t&tty=True",
        ] {
            assert_eq!(StreamSet::from_query(query), all, "{query}");
        }
        for query in [
            "",
            "stdin&stdout=false&stderr=0&tty=yes",
            "STDIN=true",
            "command=stdin=true",
        ] {
            let none = StreamSet::from_query(query);
            assert_eq!(none, StreamSet::default(), "{query}");
            assert!(!none.any());
        }
    }

    #[test]
    fn only_payload_makes_an_event_long() {
        for (event, length) in [
            (Event::Stdin(Bytes::from_static(b"abc")), 3),
            (Event::Stderr(Bytes::new()), 0),
            (
                Event::Resize(TerminalSize {
                    width: 80,
                    height: 24,
                }),
                0,
            ),
            (Event::HalfClose, 0),
        ] {
            assert_eq!((event.len(), event.is_empty()), (length, length == 0));
        }
    }
}
