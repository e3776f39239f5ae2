//! What the fuzz targets assert, as functions of bytes.
//!
//! Each target in `fuzz_targets/` is one call of the function of its name. The same functions
//! run over the kept inputs in `corpus/` by `cargo test`, on any toolchain and without C++:
//!
//! ```text
//! cargo test --manifest-path fuzz/Cargo.toml
//!     every kept input, and mutants of it
//! cargo fuzz run -s none --features libfuzzer spdy_frame /tmp/found fuzz/corpus/spdy_frame
//!     libFuzzer, on the stable toolchain; what it finds goes to /tmp/found
//! ```
//!
//! An input that made a target fail goes into its corpus with the fix. A corpus has at most 40
//! files of at most 4 KiB.
//!
//! A law that appears in several targets: what a parser finds does not depend on how its input
//! is cut. The first byte of those inputs says how: 0 byte by byte, else pieces up to that size.

mod asciicast;
mod audit_trail;
mod channel;
mod cni_args;
mod cni_config;
mod cni_plugin;
mod command_parse;
mod cut;
mod docker_stream;
mod entry_session;
mod heard;
mod http_head;
mod inflate_vs_zlib_rs;
mod lease_files;
mod log_stream;
mod port_forward;
mod port_forward_channel;
mod redact;
mod relay;
mod resource_manager_answer;
mod rule_set;
mod script;
mod spdy_connection;
mod spdy_frame;
mod status_json;
mod terminal_line;
mod translator;
mod websocket_frame;
mod ws_mask;

pub use asciicast::asciicast;
pub use audit_trail::audit_trail;
pub use channel::channel;
pub use cni_args::cni_args;
pub use cni_config::cni_config;
pub use cni_plugin::cni_plugin;
pub use command_parse::command_parse;
pub use docker_stream::docker_stream;
pub use entry_session::entry_session;
pub use http_head::http_head;
pub use inflate_vs_zlib_rs::inflate_vs_zlib_rs;
pub use lease_files::lease_files;
pub use log_stream::log_stream;
pub use port_forward::port_forward;
pub use port_forward_channel::port_forward_channel;
pub use redact::redact;
pub use relay::relay;
pub use resource_manager_answer::resource_manager_answer;
pub use rule_set::rule_set;
pub use spdy_connection::spdy_connection;
pub use spdy_frame::spdy_frame;
pub use status_json::status_json;
pub use terminal_line::terminal_line;
pub use translator::translator;
pub use websocket_frame::websocket_frame;
pub use ws_mask::ws_mask;

/// A fuzz target: its name, and what must not panic whatever the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, in alphabetical order.
pub const TARGETS: &[Target] = &[
    ("asciicast", asciicast),
    ("audit_trail", audit_trail),
    ("channel", channel),
    ("cni_args", cni_args),
    ("cni_config", cni_config),
    ("cni_plugin", cni_plugin),
    ("command_parse", command_parse),
    ("docker_stream", docker_stream),
    ("entry_session", entry_session),
    ("http_head", http_head),
    ("inflate_vs_zlib_rs", inflate_vs_zlib_rs),
    ("lease_files", lease_files),
    ("log_stream", log_stream),
    ("port_forward", port_forward),
    ("port_forward_channel", port_forward_channel),
    ("redact", redact),
    ("relay", relay),
    ("resource_manager_answer", resource_manager_answer),
    ("rule_set", rule_set),
    ("spdy_connection", spdy_connection),
    ("spdy_frame", spdy_frame),
    ("status_json", status_json),
    ("terminal_line", terminal_line),
    ("translator", translator),
    ("websocket_frame", websocket_frame),
    ("ws_mask", ws_mask),
];
