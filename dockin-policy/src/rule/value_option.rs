//! Options whose value is the next argument, of programs that are told what to do by a verb.
//!
//! Sources: `kubectl options`, `docker --help`, git(1), systemctl(1).

const VALUE_OPTIONS: &[(&[&str], &[&str])] = &[
    (
        &["kubectl", "oc"],
        &[
            "--as",
            "--as-group",
            "--as-uid",
            "--as-user-extra",
            "--cache-dir",
            "--certificate-authority",
            "--client-certificate",
            "--client-key",
            "--cluster",
            "--context",
            "--kubeconfig",
            "--kuberc",
            "--log-flush-frequency",
            "--namespace",
            "--password",
            "--profile",
            "--profile-output",
            "--request-timeout",
            "--server",
            "--tls-server-name",
            "--token",
            "--user",
            "--username",
            "--v",
            "--vmodule",
            "-n",
            "-s",
            "-v",
        ],
    ),
    (
        &["docker", "podman", "nerdctl"],
        &[
            "--address",
            "--config",
            "--connection",
            "--context",
            "--host",
            "--identity",
            "--log-level",
            "--namespace",
            "--root",
            "--runroot",
            "--storage-driver",
            "--storage-opt",
            "--tlscacert",
            "--tlscert",
            "--tlskey",
            "--tmpdir",
            "--url",
            "-H",
            "-a",
            "-c",
            "-l",
            "-n",
        ],
    ),
    (
        &["git"],
        &[
            "--attr-source",
            "--config-env",
            "--git-dir",
            "--namespace",
            "--super-prefix",
            "--work-tree",
            "-C",
            "-c",
        ],
    ),
    (
        &["systemctl"],
        &[
            "--boot-loader-entry",
            "--boot-loader-menu",
            "--check-inhibitors",
            "--host",
            "--image",
            "--image-policy",
            "--job-mode",
            "--kill-value",
            "--kill-who",
            "--kill-whom",
            "--lines",
            "--machine",
            "--message",
            "--output",
            "--preset-mode",
            "--property",
            "--reboot-argument",
            "--root",
            "--signal",
            "--state",
            "--timestamp",
            "--type",
            "--what",
            "--when",
            "-H",
            "-M",
            "-P",
            "-n",
            "-o",
            "-p",
            "-s",
            "-t",
        ],
    ),
];

/// Whether `option` of `program` has its value behind it, by its name as it stands.
pub(super) fn takes_value(program: &str, option: &str) -> bool {
    let known = VALUE_OPTIONS.iter().find(|it| it.0.contains(&program));
    known.is_some_and(|(_, options)| options.binary_search(&option).is_ok())
}

#[cfg(test)]
mod tests {
    use super::{VALUE_OPTIONS, takes_value};

    #[test]
    fn the_table_is_sorted() {
        for (programs, options) in VALUE_OPTIONS {
            assert!(options.is_sorted(), "{programs:?}");
        }
    }

    #[test]
    fn options_are_those_of_their_program() {
        assert!(takes_value("kubectl", "--kubeconfig") && takes_value("git", "-C"));
        assert!(!takes_value("kubectl", "-C") && !takes_value("make", "-C"));
    }
}
