/// What the runtime wants: the value of `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// Attach a container to the network.
    Add,
    /// Undo an attachment.
    Del,
    /// Is the attachment as it was made?
    Check,
    /// Remove what belongs to no attachment.
    Gc,
    /// Could an attachment be made?
    Status,
    /// Which versions are supported?
    Version,
}

impl Verb {
    /// All names, for messages.
    pub const NAMES: &str = "ADD, DEL, CHECK, GC, STATUS, VERSION";

    /// The verb of that name; names are upper case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Add,
            Self::Del,
            Self::Check,
            Self::Gc,
            Self::Status,
            Self::Version,
        ];
        all.into_iter().find(|verb| verb.as_str() == name)
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}
