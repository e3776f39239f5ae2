//! Variables that the session never set, and its environment may have.
//!
//! What nobody set is expected to be empty: that is how the programs of a line are named, and so
//! `r${nothing}m` is `rm`. But an image, a pod or whoever started the shell may have set it, and
//! then `cp x $DEST` writes where nobody can see. So a line that asks for such a variable is looked
//! at twice, the second time with a value that is not known: what a rule says of what may be is
//! heard, as far as the rule set's `on_unknown`, and never more.

use super::{
    ast::Script,
    run::{Analysis, Certainty, Runner},
    session::SessionState,
};

/// Whether a line can ask for a variable.
pub(super) fn may_ask(text: &[u8], state: &SessionState) -> bool {
    memchr::memchr(b'$', text).is_some() || state.holds_code() || state.inherits_something()
}

/// Adds to `analysis` what the line would do if the environment had what nobody set; `before` is
/// the session in front of the line, `state` behind it.
pub(super) fn look_again(
    script: &Script<'_>,
    text: &[u8],
    mut before: SessionState,
    state: &mut SessionState,
    analysis: &mut Analysis,
) {
    before.inherit();
    let mut runner = Runner::new(&mut before);
    runner.inherits = true;
    let _out = runner.script(script, text);
    runner.look_at_watched();
    let Analysis {
        commands, unknowns, ..
    } = runner.analysis;
    for (at, mut command) in commands.into_iter().enumerate() {
        let is_new = analysis.commands.get(at) != Some(&command);
        if is_new && command.certainty != Certainty::Latent {
            command.certainty = command.certainty.max(Certainty::Inherited);
            analysis.commands.push(command);
        }
    }
    for mut unknown in unknowns {
        if !analysis
            .unknowns
            .iter()
            .take(MAX_COMPARED)
            .any(|other| other.what == unknown.what && other.span == unknown.span)
        {
            unknown.is_soft = true;
            analysis.unknowns.push(unknown);
        }
    }
    state.differs_from(&before);
}

/// Unknowns that a further one is compared with.
const MAX_COMPARED: usize = 16;
