use dockin_net::resource_manager::read_answer;

/// What a resource manager answers: networks with exactly one master and interfaces of their own,
/// or an error with a text.
///
/// # Panics
///
/// A law is broken.
pub fn resource_manager_answer(data: &[u8]) {
    match read_answer(data) {
        Ok(networks) => {
            assert_eq!(networks.iter().filter(|it| it.master).count(), 1);
            for (index, network) in networks.iter().enumerate() {
                let mut others = networks.iter().skip(index + 1);
                assert!(others.all(|it| it.interface != network.interface));
                assert!(!network.network.is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
