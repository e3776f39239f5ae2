//! Which addresses an attachment gets.
//!
//! *Static*: those that the configuration or the runtime names; nothing is remembered.

mod static_mode;

use static_mode::Wanted;

use crate::{
    AddressError, Attachment,
    cni::{self, CniError, CniResult, Environment, ErrorCode, Outcome, Plugin, Request},
};

/// What an address plugin touches outside itself.
pub trait World {
    /// Is the namespace at `path` the one this process runs in? A path that leads nowhere is not.
    fn is_own_namespace(&mut self, path: &str) -> bool;
}

/// Answers one call of the address plugin.
///
/// ```
/// use dockin_net::{cni::Environment, ipam};
///
/// struct Nowhere;
/// impl ipam::World for Nowhere {
///     fn is_own_namespace(&mut self, _path: &str) -> bool {
///         false
///     }
/// }
/// let env = Environment {
///     command: "ADD".into(),
///     container_id: "c1".into(),
///     netns: "/run/netns/c1".into(),
///     ifname: "eth0".into(),
///     path: "/opt/cni/bin".into(),
///     ..Environment::default()
/// };
/// let config = br#"{"cniVersion":"1.0.0","name":"net","ipam":{"addresses":[{"address":"10.0.0.2/24"}]}}"#;
/// let outcome = ipam::run(&env, config, &mut Nowhere);
/// assert_eq!(outcome.stdout, r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}"#);
/// ```
pub fn run(environment: &Environment, stdin: &[u8], world: &mut dyn World) -> Outcome {
    let about = concat!("dockin-ipam ", env!("CARGO_PKG_VERSION"));
    cni::run(environment, stdin, about, &mut Ipam { world })
}

struct Ipam<'a> {
    world: &'a mut dyn World,
}

impl Plugin for Ipam<'_> {
    fn add(&mut self, request: &Request<'_>, _of: &Attachment) -> Result<CniResult, CniError> {
        Wanted::read(request).map(Wanted::into_result)
    }

    fn del(&mut self, _request: &Request<'_>, _of: &Attachment) -> Result<(), CniError> {
        Ok(())
    }

    fn check(&mut self, request: &Request<'_>, of: &Attachment) -> Result<(), CniError> {
        Wanted::read(request)?.check(request, of)
    }

    fn collect(&mut self, _request: &Request<'_>) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&mut self, _request: &Request<'_>) -> Result<(), CniError> {
        Ok(())
    }

    fn is_own_namespace(&mut self, path: &str) -> bool {
        self.world.is_own_namespace(path)
    }
}

/// An address in a field: the reference's code for all of them but the one kind it lets through.
fn address_error(path: &str, error: &AddressError) -> CniError {
    let code = match error {
        AddressError::MappedPrefix(_) => ErrorCode::INVALID_CONFIG,
        _ => ErrorCode::INTERNAL,
    };
    CniError::new(code, format!("`{path}`: {error}"))
}
