//! What a command line would run, whether it may, and what is written down about it. Pure
//! functions and state machines: bytes, values and `now` in; verdicts, actions and events out.
//!
//! # The part of the walks that is ours
//!
//! *A command judged*: bytes typed → [`Interceptor`], which rebuilds the line from keys, echo and
//! screen and holds the byte that submits it → [`judge_line`], which reads the line as the shell
//! would and asks the [`RuleSet`] of every program in it → [`Verdict`] → forwarded, or refused on
//! the person's own screen → an [`audit`] event, always.
//!
//! What cannot be parsed or known is never let through silently: the rule set's `on_unknown`
//! decides, and that is deny unless it says otherwise. What was computed before it is run is
//! followed, to deny it for what it comes to; it is never allowed for that alone.

pub mod access;
pub mod audit;
mod by_name;
mod file_size;
mod interceptor;
pub mod io;
mod judge;
mod prediction;
pub mod recording;
mod rule;
mod rule_set;
mod shell;
pub mod terminal;
mod verdict;
mod words;

pub use file_size::{CopyLimit, copy_limit, sizes_wanted};
pub use interceptor::{
    Action, BufferQuery, Confidence, HeldLine, HoldId, Interceptor, JudgedLine, LineSource, Mode,
    Settlement,
};
pub use judge::{
    Subject, WeekTime, judge_argv, judge_line, judge_port, judge_unknown, reads_commands_from_stdin,
};
pub use prediction::{Argument, PredictedProgram, Prediction, predict_line};
pub use rule::Effect;
pub use rule_set::{RuleSet, RuleSetError};
pub use shell::{
    Completeness, Dialect, SessionState, StdinProgram, format_script, is_complete, read_script,
};
pub use verdict::{Decision, Reason, Verdict};
