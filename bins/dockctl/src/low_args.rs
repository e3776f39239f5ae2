//! The command line as it is written, before anything is looked up.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command::demo::DemoArgs;

/// Policed, audited access to containers.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: that of the remote command; 77 denied by policy; 255 no connection \
                  or a gateway error; 2 usage; 1 other."
)]
pub(crate) struct LowArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

/// Which gateway, as whom.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConnectionArgs {
    /// Kubeconfig file; default $KUBECONFIG, then ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Cluster of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
}

/// Which gateway, as whom, and in which namespace.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Namespace; default that of the context, then `default`
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Try everything on this machine: a gateway, an agent and a pod, without any set-up
    Demo(DemoArgs),
    /// Write a kubeconfig that points at a gateway
    Kubeconfig(KubeconfigArgs),
    /// Log in to a gateway, and write a kubeconfig with every cluster that there is to reach
    Login(LoginArgs),
    /// End the session with a gateway
    Logout(ServerArgs),
    /// Give kubectl the token of the session or of a file, as its kubeconfig asks for it
    Credential(CredentialArgs),
    /// Show pods
    Get(GetArgs),
    /// Run a command in a container
    Exec(ExecArgs),
    /// Connect to the main process of a container
    Attach(AttachArgs),
    /// Show what a container wrote
    Logs(LogsArgs),
    /// Copy files to or from a container, through the tar in it
    Cp(CopyArgs),
    /// Forward local ports to a pod
    PortForward(PortForwardArgs),
    /// What happened: who ran what, and what was refused
    #[command(subcommand)]
    Audit(AuditArgs),
    /// Sessions: the open ones of the gateway, and recorded ones on the machine that has them
    #[command(subcommand)]
    Session(SessionCommandArgs),
    /// What a rule file allows
    #[command(subcommand)]
    Policy(PolicyArgs),
    /// Who may reach what, by access rules
    #[command(subcommand)]
    Access(AccessArgs),
    /// Log in at an OpenID Connect provider with a browser, and keep the token in a file
    OidcLogin(OidcLoginArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct CredentialArgs {
    /// The gateway that there is a session with, as https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File with a token, as `oidc-login` writes it
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct OidcLoginArgs {
    /// The provider, as https://HOST/PATH
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: String,
    /// What the provider calls this program
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: String,
    /// File with the client's secret, for providers that give one
    #[arg(long, value_name = "FILE")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// What to ask for besides `openid`, such as email or groups
    #[arg(long, value_name = "NAME")]
    pub(crate) scope: Vec<String>,
    /// Certificate of the authority that signed the provider's, PEM; default the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// Local port that the browser comes back to; default a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Where to write the token, for `dockctl kubeconfig --token-file`
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
    /// Open the browser too
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KubeconfigArgs {
    /// The gateway's address, as https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// Certificate of the authority that signed the gateway's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: PathBuf,
    /// File with the token; - reads standard input. With --all it may be left out after `dockctl
    /// login`: then there is no token in what is written, kubectl asks for it
    #[arg(long, value_name = "FILE", required_unless_present = "all")]
    pub(crate) token_file: Option<PathBuf>,
    /// Let kubectl ask this program for what is in the token file then, and write no token
    #[arg(long, requires = "token_file")]
    pub(crate) credential_plugin: bool,
    /// Cluster behind the gateway, one context each; default the gateway's first
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub(crate) cluster: Vec<String>,
    /// Every cluster behind the gateway that the token lets one reach
    #[arg(long)]
    pub(crate) all: bool,
    /// Name of the user entry
    #[arg(long, value_name = "NAME", default_value = "dockin")]
    pub(crate) user: String,
    /// Namespace of the contexts
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "dockin.kubeconfig")]
    pub(crate) output: PathBuf,
    /// Write over a file that has other entries
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// The gateway's address, as https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// Certificate of the authority that signed the gateway's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: PathBuf,
    /// Whose account
    #[arg(long, value_name = "NAME", env = "USER")]
    pub(crate) user: String,
    /// File with the password; - reads standard input; asked for on the terminal, without
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Namespace of the contexts
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Kubeconfig to write, or to put the contexts into
    #[arg(short, long, value_name = "FILE", default_value = "dockin.kubeconfig")]
    pub(crate) output: PathBuf,
}

/// A gateway, and how to know that it is the one.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// The gateway's address, as https://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    /// Certificate of the authority that signed the gateway's, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate_authority: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// What to show: pods
    #[arg(value_parser = ["pods", "pod", "po"], value_name = "KIND")]
    pub(crate) kind: String,
    /// Only the pods of these names
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The pods of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// How to show them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: PodFormat,
    /// Leave out the headings
    #[arg(long)]
    pub(crate) no_headers: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PodFormat {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// The pod, as NAME or pod/NAME
    pub(crate) pod: String,
    /// The command and its arguments, behind --
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// The pod, as NAME or pod/NAME
    pub(crate) pod: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SessionArgs {
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Container; default the pod's default container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Print nothing but what the container says
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Character that begins a local escape at the start of a line, with a terminal; or `none`
    #[arg(short, long, value_name = "CHAR", default_value = "~")]
    pub(crate) escape_char: String,
}

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Go on as more is written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only that many lines from the end
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Begin each line with its time
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only what is newer than this, as 90s, 5m, 2h
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// Of the run before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Container; default the pod's default container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// The pod, as NAME or pod/NAME
    pub(crate) pod: String,
}

#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Container; default the pod's default container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// From: PATH, POD:PATH or NAMESPACE/POD:PATH
    pub(crate) source: String,
    /// To: PATH, POD:PATH or NAMESPACE/POD:PATH
    pub(crate) destination: String,
}

#[derive(Args, Debug)]
pub(crate) struct PortForwardArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Local address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) address: std::net::IpAddr,
    /// The pod, as NAME or pod/NAME
    pub(crate) pod: String,
    /// LOCAL:REMOTE, PORT for both, or :REMOTE for any free local port
    #[arg(required = true, value_name = "PORTS")]
    pub(crate) ports: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditArgs {
    /// Show the last events
    Tail(AuditTailArgs),
    /// Find events
    Search(Box<AuditSearchArgs>),
    /// Find out, offline, whether records were changed, dropped, moved or cut off; exit 65 when
    /// they were
    Verify(AuditVerifyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct AuditVerifyArgs {
    /// The newest file of the trail, or all of its files, oldest first
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Public key that signs the trail: 64 digits, or a file with them; default the audit.key.pub
    /// beside it, which whoever changes the trail can change, too
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// How to show what was found
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: AuditFormat,
}

#[derive(Args, Debug)]
pub(crate) struct AuditTailArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Go on as more happens
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,
    /// How to show them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: AuditFormat,
    /// Read an audit file instead of asking the gateway
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct AuditSearchArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// By this user
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// In this pod
    #[arg(long, value_name = "NAME")]
    pub(crate) pod: Option<String>,
    /// In this namespace
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// In this container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// In this cluster behind the gateway
    #[arg(long, value_name = "NAME")]
    pub(crate) in_cluster: Option<String>,
    /// That would run this program: a name as rm, or a whole path
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<String>,
    /// With this verdict: allow, deny, ask, alert
    #[arg(long, value_name = "VERDICT")]
    pub(crate) verdict: Option<String>,
    /// Decided by this rule
    #[arg(long, value_name = "ID")]
    pub(crate) rule: Option<String>,
    /// With this event code
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Of this session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Not older than this: 90s, 2h, 7d, or a time as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Older than this: 90s, 2h, 7d, or a time as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// How to show them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: AuditFormat,
    /// Read an audit file instead of asking the gateway
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AuditFormat {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommandArgs {
    /// Show what recordings there are, oldest first
    List(SessionListArgs),
    /// Show a recording as it happened
    Replay(SessionReplayArgs),
    /// Show which sessions are open now, of all gateways: one's own, and those where one may read
    /// the audit trail
    Live(SessionLiveArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SessionLiveArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// How to show them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: AuditFormat,
}

/// Where recordings are, and what opens them.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordingArgs {
    /// The directory that the gateway records into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
    /// File of the key that recordings are encrypted with
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct SessionListArgs {
    #[command(flatten)]
    pub(crate) recordings: RecordingArgs,
    /// How to show them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: AuditFormat,
}

#[derive(Args, Debug)]
pub(crate) struct SessionReplayArgs {
    #[command(flatten)]
    pub(crate) recordings: RecordingArgs,
    /// The session, as `session list` or the audit trail has it, or a file
    pub(crate) session: String,
    /// How many times as fast; 0 does not wait at all
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// From a judged command on, by its number, or from a time, as 90s or 5m
    #[arg(long, value_name = "COMMAND|TIME")]
    pub(crate) from: Option<String>,
    /// Nobody waits longer than this, seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle: Option<f64>,
    /// Print the asciicast itself, for asciinema's player
    #[arg(long, conflicts_with_all = ["from", "speed", "idle"])]
    pub(crate) cast: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyArgs {
    /// Read a rule file and say what is wrong with it
    Check {
        /// The rule file
        file: PathBuf,
    },
    /// Say what the rules make of a command line or a port, and why; exit 77 when it is denied
    Explain(PolicyExplainArgs),
    /// Judge the lines and ports of a case file and compare with the verdicts it expects; exit 1 when one
    /// differs
    Test(PolicyTestArgs),
    /// Judge many lines or recorded sessions, JSON lines in and out
    Judge(PolicyJudgeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PolicyTestArgs {
    /// The case file
    pub(crate) cases: PathBuf,
    /// The rule file, instead of the one that the case file names
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PolicyJudgeArgs {
    /// The rule file
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// Lines: {"id", "shell", "input"}, one object a line; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "transcripts")]
    pub(crate) cases: Option<PathBuf>,
    /// Sessions: {"id", "size", "events"}, one object a line; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) transcripts: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PolicyExplainArgs {
    /// The rule file
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: PathBuf,
    /// The command line, as it would be typed
    #[arg(required_unless_present = "port")]
    pub(crate) line: Option<String>,
    /// A port-forward to this port of the pod, in place of a command line
    #[arg(long, value_name = "NUMBER", conflicts_with = "line", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// For this shell: bash, sh, busybox or zsh
    #[arg(long, value_name = "NAME", default_value = "bash")]
    pub(crate) shell: String,
    /// As this user
    #[arg(long, value_name = "NAME", default_value = "anyone")]
    pub(crate) user: String,
    /// As a member of this group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// On this cluster
    #[arg(long, value_name = "NAME", default_value = "local")]
    pub(crate) cluster: String,
    /// In this namespace
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// In this pod
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) pod: String,
    /// In this container
    #[arg(short, long, value_name = "NAME", default_value = "")]
    pub(crate) container: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccessArgs {
    /// Read access rules and say what is wrong with them
    Check {
        /// A YAML document, or a Casbin model (.conf) and policies (.csv)
        files: Vec<PathBuf>,
        #[command(flatten)]
        from: AccessFilesArgs,
    },
    /// Say what the rules make of a request, and why; exit 77 when it is refused
    Explain(AccessExplainArgs),
}

#[derive(Args, Debug)]
pub(crate) struct AccessFilesArgs {
    /// The gateway's configuration, which says where its rules are
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "model", "policy"])]
    pub(crate) config: Option<PathBuf>,
    /// A YAML document of rules
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "policy"])]
    pub(crate) file: Option<PathBuf>,
    /// A Casbin model
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) model: Option<PathBuf>,
    /// A Casbin policy
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(crate) policy: Option<PathBuf>,
    /// Tenants and projects beside a Casbin policy
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) tenancy: Option<PathBuf>,
    /// Decide as TKEStack does, traps included
    #[arg(long)]
    pub(crate) compatible: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AccessExplainArgs {
    /// Who
    pub(crate) user: String,
    /// What: exec, attach, port-forward, logs, audit, review, reach, or a verb of Kubernetes
    pub(crate) verb: String,
    /// Where: CLUSTER/NAMESPACE/POD or CLUSTER/NAMESPACE/KIND/NAME; `*` is all
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) files: AccessFilesArgs,
    /// As a member of this group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// In this tenant
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// In this project, where rules take the caller's word for it
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// API group of KIND
    #[arg(long, value_name = "GROUP", default_value = "")]
    pub(crate) api_group: String,
    /// What of KIND, such as scale
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) subresource: String,
    /// A path of the API server instead of an object
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
}
