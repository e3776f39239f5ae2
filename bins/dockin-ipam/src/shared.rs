//! `dockin-ipam pool --conf FILE`: a network whose pools nodes share, in the store.

use std::{thread::sleep, time::Duration};

use dockin_net::{
    InterfaceName, Owner, StickyKey,
    blocks::operator::{ShareError, Shares, drop_node, release, reserve, verify},
    cni::CniError,
    io::Host,
    ipam::{Shared, World},
    parse_address,
};

/// How this part of the tool is used.
const USAGE: &str = "\
usage: dockin-ipam pool --conf FILE COMMAND

FILE is the runtime's configuration, with `ipam.store`. Every node may be asked.

  list                               how much is whose
  show                               every share, and every address that is kept or set aside
  reserve ADDRESS [NS/POD [IFNAME]]  set an address aside, for one pod or for nobody
  release ADDRESS [--force]          end that; with --force also for a pod that runs
  verify                             read everything and say what does not fit together
  drop NODE                          a node is gone for ever: its share goes to the others
  keep [SECONDS]                     renew this node's session, give back what it does not need;
                                     again and again, so many seconds apart";

/// Runs the words after the file; the text to print, or what is wrong.
pub(crate) fn run(file: &str, words: &[&str]) -> Result<String, String> {
    if let ["help" | "--help" | "-h"] = words {
        return Ok(format!("{USAGE}\n"));
    }
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let text = Host.read_text(file).map_err(|error| told(&error))?;
    let wrong = |error: CniError| format!("`{file}`: {error}");
    let (mut shared, place) =
        Shared::of_configuration(text.as_bytes(), &mut Host).map_err(wrong)?;
    if let ["keep", pause @ ..] = words {
        let pause = match pause {
            [] => None,
            [text] => Some(text.parse().map_err(|_| no_command(words))?),
            _ => return Err(no_command(words)),
        };
        loop {
            // Calls of the plugin wait for the leases no longer than this takes.
            let mut leases = Host.open(&place).map_err(|error| told(&error))?;
            let kept = shared.keep(leases.as_mut(), Host.now());
            drop(leases);
            match (kept, pause) {
                (kept, None) => return kept.map(|()| String::new()).map_err(wrong),
                (Ok(()), Some(_)) => {}
                (Err(error), Some(_)) => eprintln!("dockin-ipam: {error}"),
            }
            sleep(Duration::from_secs(pause.unwrap_or_default()));
            // A new one has its full time for the next talk.
            shared = Shared::of_configuration(text.as_bytes(), &mut Host)
                .map_err(wrong)?
                .0;
        }
    }
    let (store, names, pools) = shared.parts();
    let told = |error: ShareError| error.to_string();
    let address = |text: &str| parse_address(text).map_err(|error| error.to_string());
    match words {
        ["list"] => {
            let shares = Shares::read(store, names).map_err(told)?;
            Ok(list(place.network.as_str(), &shares))
        }
        ["show"] => Ok(Shares::read(store, names).map_err(told)?.show()),
        ["verify"] => verify(store, names, pools).map_err(told),
        ["reserve", text] => {
            let done = reserve(store, names, address(text)?, None);
            done.map(|()| format!("{text} is set aside\n"))
                .map_err(told)
        }
        ["reserve", text, owner] | ["reserve", text, owner, _] => {
            let interface = words.get(3).copied().unwrap_or("eth0");
            let key = StickyKey {
                owner: Owner::parse(owner)
                    .ok_or_else(|| format!("`{owner}` is not `namespace/pod`"))?,
                interface: InterfaceName::parse(interface).map_err(|error| error.to_string())?,
            };
            let done = reserve(store, names, address(text)?, Some(&key));
            done.map(|()| format!("{text} is set aside\n"))
                .map_err(told)
        }
        ["release", text] | ["release", text, "--force"] => {
            let done = release(store, names, address(text)?, words.len() == 3);
            done.map(|()| format!("{text} is free\n")).map_err(told)
        }
        ["drop", node] => {
            let freed = drop_node(store, names, node).map_err(told)?;
            Ok(format!("{freed} addresses of node {node} are free\n"))
        }
        _ => Err(no_command(words)),
    }
}

fn no_command(words: &[&str]) -> String {
    format!("no such command: {}\n{USAGE}", words.join(" "))
}

fn list(network: &str, shares: &Shares) -> String {
    let parts = shares.blocks.values().flat_map(|it| &it.parts);
    let shared: u32 = parts.map(|part| part.bits.count_ones()).sum();
    let held = shares.sticky.values().filter(|it| it.holder.is_some());
    format!(
        "{network}: {} nodes with a session, {} blocks, {shared} addresses in shares, {} sticky \
         keys, {} of them at a node, {} addresses set aside\n",
        shares.nodes.len(),
        shares.blocks.len(),
        shares.sticky.len(),
        held.count(),
        shares.aside.len(),
    )
}
