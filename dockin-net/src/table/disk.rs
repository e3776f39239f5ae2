use crate::store::StoreError;

/// One of the two files of a network.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum FileName {
    /// The blocks.
    Table,
    /// What is newer than the blocks.
    Journal,
}

impl FileName {
    /// Its name in the network's directory.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "leases.table",
            Self::Journal => "leases.journal",
        }
    }
}

/// Two files that nobody else touches meanwhile.
pub trait Disk {
    /// What errors call the file.
    fn path(&self, file: FileName) -> String {
        file.as_str().into()
    }

    /// Bytes of the file; none when there is no such file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn length(&self, file: FileName) -> Result<Option<u64>, StoreError>;

    /// Reads from `offset` on until `into` is full or the file ends; how much that was.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn read(&self, file: FileName, offset: u64, into: &mut [u8]) -> Result<usize, StoreError>;

    /// Writes at `offset`, also beyond the end. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn sync(&mut self, file: FileName) -> Result<(), StoreError>;

    /// Puts a new file in the place of the old one: durable, and at every moment one or the other.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError>;
}
