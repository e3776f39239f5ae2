//! A machine in memory: files, a clock that stands still, and power that may go.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use dockin_net::{
    Disk, FileName, Format, LeaseStore, LeaseTable, Place, StoreError, Timestamp,
    cni::{Environment, Outcome},
    ipam,
};
use serde_json::Value;

/// The files of one network.
type Files = Rc<RefCell<BTreeMap<FileName, Vec<u8>>>>;

/// The machine. A clone shares its files.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    files: BTreeMap<String, Files>,
    /// Seconds.
    pub(crate) now: u64,
    /// What tells this start of the machine from others.
    pub(crate) boot: Option<String>,
    /// Steps until the power goes; each byte of a write is one.
    pub(crate) power: Option<Rc<RefCell<usize>>>,
}

#[allow(dead_code, reason = "each test file uses a part of this")]
impl Memory {
    /// A machine that was just started.
    pub(crate) fn new() -> Self {
        Self {
            now: 1_000_000,
            boot: Some("boot-1".into()),
            ..Self::default()
        }
    }

    /// One call of the plugin.
    pub(crate) fn call(
        &mut self,
        verb: &str,
        container: &str,
        args: &str,
        config: &Value,
    ) -> Outcome {
        let environment = Environment {
            command: verb.into(),
            container_id: container.into(),
            netns: format!("/run/netns/{container}"),
            ifname: "eth0".into(),
            args: args.into(),
            path: "/opt/cni/bin".into(),
            netns_override: String::new(),
        };
        ipam::run(&environment, config.to_string().as_bytes(), self)
    }

    /// The leases of a network.
    pub(crate) fn store(&mut self, network: &str) -> LeaseTable<MemoryDisk> {
        let files = Rc::clone(self.files.entry(network.into()).or_default());
        let power = self.power.clone();
        LeaseTable::open(MemoryDisk { files, power }).unwrap()
    }
}

impl ipam::World for Memory {
    fn is_own_namespace(&mut self, _path: &str) -> bool {
        false
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(self.now)
    }

    fn boot_id(&mut self) -> Option<String> {
        self.boot.clone()
    }

    fn open(&mut self, place: &Place) -> Result<Box<dyn LeaseStore>, StoreError> {
        assert_eq!(place.format, Format::Table);
        let network = place.network.as_str().to_owned();
        let files = Rc::clone(self.files.entry(network).or_default());
        let power = self.power.clone();
        let store = LeaseTable::open(MemoryDisk { files, power })?;
        Ok(Box::new(store))
    }

    fn read_text(&mut self, path: &str) -> Result<String, StoreError> {
        Err(StoreError::Io {
            path: path.into(),
            message: "there are no such files".into(),
        })
    }
}

/// The two files of a network.
#[derive(Debug)]
pub(crate) struct MemoryDisk {
    files: Files,
    power: Option<Rc<RefCell<usize>>>,
}

impl MemoryDisk {
    /// How much of `wanted` happens before the power goes.
    fn spend(&self, wanted: usize) -> usize {
        let Some(power) = &self.power else {
            return wanted;
        };
        let spent = wanted.min(*power.borrow());
        *power.borrow_mut() -= spent;
        spent
    }

    fn step(&self) -> Result<(), StoreError> {
        if self.spend(1) == 0 {
            return Err(no_power());
        }
        Ok(())
    }
}

fn no_power() -> StoreError {
    StoreError::Io {
        path: "memory".into(),
        message: "the power is gone".into(),
    }
}

impl Disk for MemoryDisk {
    fn length(&self, file: FileName) -> Result<Option<u64>, StoreError> {
        let files = self.files.borrow();
        Ok(files.get(&file).map(|it| u64::try_from(it.len()).unwrap()))
    }

    fn read(&self, file: FileName, offset: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let files = self.files.borrow();
        let bytes = files[&file].get(usize::try_from(offset).unwrap()..);
        let bytes = bytes.unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let spent = self.spend(bytes.len());
        let mut files = self.files.borrow_mut();
        let content = files.get_mut(&file).unwrap();
        let offset = usize::try_from(offset).unwrap();
        if content.len() < offset + spent {
            content.resize(offset + spent, 0);
        }
        content[offset..offset + spent].copy_from_slice(&bytes[..spent]);
        if spent < bytes.len() {
            return Err(no_power());
        }
        Ok(())
    }

    fn sync(&mut self, _file: FileName) -> Result<(), StoreError> {
        self.step()
    }

    fn replace(&mut self, file: FileName, bytes: &[u8]) -> Result<(), StoreError> {
        self.step()?;
        self.files.borrow_mut().insert(file, bytes.to_vec());
        Ok(())
    }
}
