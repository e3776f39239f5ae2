use std::net::IpAddr;

use thiserror::Error;

use crate::{
    AllocateError, Attachment, Beside, LeaseStore, Pool, StoreError, Use, Want, allocate,
    blocks::{Names, Store, keep, operator::ShareError},
    lease::{After, Change, StickyKey, Timestamp},
};

/// Which pod has which addresses of one network.
pub trait Register {
    /// The addresses that a pod has; none when it was given none.
    ///
    /// # Errors
    ///
    /// [`RegisterError`], as for the others.
    fn addresses(&mut self, of: &StickyKey) -> Result<Vec<IpAddr>, RegisterError>;

    /// The addresses that a pod has, and where it has none one of each set of the pool, which are
    /// the pod's from then on.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    fn give(
        &mut self,
        pool: &Pool,
        of: &StickyKey,
        now: Timestamp,
    ) -> Result<Vec<IpAddr>, RegisterError>;

    /// The pod that has an address.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    fn pod_at(
        &mut self,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Option<StickyKey>, RegisterError>;

    /// Ends what a pod has; success when that is nothing.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    fn release(&mut self, of: &StickyKey) -> Result<(), RegisterError>;
}

/// Why a register does not do it.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RegisterError {
    /// The leases cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no address for the pod.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The shared store gives no answer, or one that cannot be used.
    #[error(transparent)]
    Share(#[from] ShareError),
}

impl RegisterError {
    /// May it be done later, without anybody changing something?
    #[must_use]
    pub const fn is_later(&self) -> bool {
        matches!(
            self,
            Self::Store(_)
                | Self::Allocate(AllocateError::Exhausted(_) | AllocateError::Store(_))
                | Self::Share(ShareError::Unanswered(_) | ShareError::Contended(_))
        )
    }
}

/// A network's leases on this machine. They are locked as long as this lives.
pub struct LeaseRegister(Box<dyn LeaseStore>);

impl std::fmt::Debug for LeaseRegister {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LeaseRegister")
    }
}

impl LeaseRegister {
    /// The register that is in these leases.
    #[must_use]
    pub const fn new(leases: Box<dyn LeaseStore>) -> Self {
        Self(leases)
    }
}

impl Register for LeaseRegister {
    fn addresses(&mut self, of: &StickyKey) -> Result<Vec<IpAddr>, RegisterError> {
        let lease = self.0.lease_of(&attachment(of))?;
        Ok(lease.map(|it| it.addresses).unwrap_or_default())
    }

    fn give(
        &mut self,
        pool: &Pool,
        of: &StickyKey,
        now: Timestamp,
    ) -> Result<Vec<IpAddr>, RegisterError> {
        let held = self.addresses(of)?;
        if !held.is_empty() {
            return Ok(held);
        }
        let want = Want {
            attachment: attachment(of),
            sticky: Some(of.clone()),
            requested: Vec::new(),
            beside: Beside::Nothing,
        };
        let granted = allocate(pool, self.0.as_ref(), &want, now);
        let grant = granted.map_err(|refusal| refusal.error)?;
        self.0.commit(grant.changes)?;
        let given = grant.addresses.iter();
        Ok(given.map(|(cidr, _)| cidr.address()).collect())
    }

    fn pod_at(
        &mut self,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Option<StickyKey>, RegisterError> {
        let Some(Use::Held(by)) = self.0.use_of(address, now)? else {
            return Ok(None);
        };
        Ok(self.0.lease_of(&by)?.and_then(|lease| lease.sticky))
    }

    fn release(&mut self, of: &StickyKey) -> Result<(), RegisterError> {
        let attachment = attachment(of);
        if self.0.lease_of(&attachment)?.is_some() {
            let after = After::Free;
            self.0.commit(vec![Change::Release { attachment, after }])?;
        }
        Ok(())
    }
}

/// What a pod's lease is kept under.
fn attachment(of: &StickyKey) -> Attachment {
    Attachment::stored(of.owner.as_str(), of.interface.as_str())
}

/// A network's pools in a store that several resource managers, and nodes, share. Nothing is kept
/// here: one is as good as another.
pub struct SharedRegister {
    store: Box<dyn Store>,
    names: Names,
}

impl std::fmt::Debug for SharedRegister {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = &self.names;
        formatter
            .debug_tuple("SharedRegister")
            .field(names)
            .finish()
    }
}

impl SharedRegister {
    /// The register that is under these keys of a store.
    #[must_use]
    pub const fn new(store: Box<dyn Store>, names: Names) -> Self {
        Self { store, names }
    }
}

impl Register for SharedRegister {
    fn addresses(&mut self, of: &StickyKey) -> Result<Vec<IpAddr>, RegisterError> {
        Ok(keep::kept(self.store.as_mut(), &self.names, of)?)
    }

    fn give(
        &mut self,
        pool: &Pool,
        of: &StickyKey,
        _now: Timestamp,
    ) -> Result<Vec<IpAddr>, RegisterError> {
        let given = keep::keep(self.store.as_mut(), &self.names, pool, of)?;
        given.ok_or_else(|| AllocateError::Exhausted(pool.to_string()).into())
    }

    fn pod_at(
        &mut self,
        address: IpAddr,
        _now: Timestamp,
    ) -> Result<Option<StickyKey>, RegisterError> {
        Ok(keep::keeper(self.store.as_mut(), &self.names, address)?)
    }

    fn release(&mut self, of: &StickyKey) -> Result<(), RegisterError> {
        Ok(keep::let_go(self.store.as_mut(), &self.names, of)?)
    }
}
