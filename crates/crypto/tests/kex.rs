//! Key exchange: every group with itself, published vectors, and peers that cheat.

use causeway_crypto::{KeyExchange, SeededEntropy};
use causeway_model::suite::DhGroup;

fn pair(group: DhGroup, seed: u64) -> KeyExchange {
    KeyExchange::generate(group, &mut SeededEntropy::new(seed)).expect("a key pair")
}

#[test]
fn both_sides_agree_in_every_group() {
    for group in DhGroup::ALL {
        let (ours, theirs) = (pair(*group, 1), pair(*group, 2));
        assert_eq!(ours.public().len(), KeyExchange::public_len(*group));
        assert_ne!(ours.public(), theirs.public());
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        let (a, b) = (ours.agree(&their_public).expect("agrees"), theirs.agree(&our_public).expect("agrees"));
        assert_eq!(a, b, "{group}");
        let expected = match group {
            DhGroup::Ecp256 | DhGroup::Ecp384 | DhGroup::Ecp521 => KeyExchange::public_len(*group) / 2,
            _ => KeyExchange::public_len(*group),
        };
        assert_eq!(a.len(), expected, "{group}");
    }
}
