//! Classic groups over RFC 3526's primes with generator 2, in constant time.

use std::sync::LazyLock;

use causeway_model::suite::DhGroup;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use zeroize::{Zeroize, Zeroizing};

use crate::{Entropy, Secret};

const LIMBS_2048: usize = 2048 / 64;
const LIMBS_3072: usize = 3072 / 64;
const LIMBS_4096: usize = 4096 / 64;

/// Octets of private exponents: more than RFC 3526 §8 asks for by its first estimate of the groups' strength, 220, 260 and 300 bits.
const EXPONENT_2048: usize = 32;
const EXPONENT_3072: usize = 40;
const EXPONENT_4096: usize = 48;

/// RFC 3526: the 2048-bit prime.
const MODP2048_PRIME: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AACAA68FFFFFFFFFFFFFFFF";

/// RFC 3526: the 3072-bit prime.
const MODP3072_PRIME: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF";

/// RFC 3526: the 4096-bit prime.
const MODP4096_PRIME: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
     83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
     15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C\
     BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
     88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6\
     287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
     93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF";

static GROUP_2048: LazyLock<Group<LIMBS_2048>> = LazyLock::new(|| Group::new(MODP2048_PRIME));
static GROUP_3072: LazyLock<Group<LIMBS_3072>> = LazyLock::new(|| Group::new(MODP3072_PRIME));
static GROUP_4096: LazyLock<Group<LIMBS_4096>> = LazyLock::new(|| Group::new(MODP4096_PRIME));

pub(super) struct Private {
    group: DhGroup,
    exponent: Zeroizing<Vec<u8>>,
}

/// A key pair; `group` is one of the three classic ones.
pub(super) fn generate(group: DhGroup, entropy: &mut dyn Entropy) -> (Private, Vec<u8>) {
    let len = match group {
        DhGroup::Modp3072 => EXPONENT_3072,
        DhGroup::Modp4096 => EXPONENT_4096,
        _ => EXPONENT_2048,
    };
    let mut exponent = Zeroizing::new(vec![0; len]);
    entropy.fill(&mut exponent);
    // The top bit makes the exponent's length, and with it the smallest possible value, independent of the draw.
    if let Some(first) = exponent.first_mut() {
        *first |= 0x80;
    }
    let public = match group {
        DhGroup::Modp3072 => GROUP_3072.public::<{ EXPONENT_3072 / 8 }>(&exponent),
        DhGroup::Modp4096 => GROUP_4096.public::<{ EXPONENT_4096 / 8 }>(&exponent),
        _ => GROUP_2048.public::<{ EXPONENT_2048 / 8 }>(&exponent),
    };
    (Private { group, exponent }, public)
}

impl Private {
    /// `peer` has the prime's length already; `None` if it is not in `2..=p-2` (RFC 6989 §2.1).
    pub(super) fn agree(&self, peer: &[u8]) -> Option<Secret> {
        match self.group {
            DhGroup::Modp3072 => GROUP_3072.agree::<{ EXPONENT_3072 / 8 }>(&self.exponent, peer),
            DhGroup::Modp4096 => GROUP_4096.agree::<{ EXPONENT_4096 / 8 }>(&self.exponent, peer),
            _ => GROUP_2048.agree::<{ EXPONENT_2048 / 8 }>(&self.exponent, peer),
        }
    }
}

struct Group<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
}

impl<const LIMBS: usize> Group<LIMBS> {
    fn new(prime: &str) -> Self {
        let prime = Odd::new(Uint::from_be_hex(prime)).into_option().expect("a prime of RFC 3526 is odd");
        Self { params: FixedMontyParams::new_vartime(prime) }
    }

    fn public<const EXPONENT: usize>(&self, exponent: &[u8]) -> Vec<u8> {
        self.power::<EXPONENT>(&Uint::from_u64(2), exponent)
    }

    fn agree<const EXPONENT: usize>(&self, exponent: &[u8], peer: &[u8]) -> Option<Secret> {
        if peer.len() != LIMBS * 8 {
            return None;
        }
        let peer = Uint::<LIMBS>::from_be_slice(peer);
        let last = self.params.modulus().as_ref().wrapping_sub(&Uint::ONE);
        if peer <= Uint::ONE || peer >= last {
            return None;
        }
        Some(Secret::new(self.power::<EXPONENT>(&peer, exponent)))
    }

    /// `base ^ exponent`, as long as the prime (RFC 7296 §2.14: g^ir is padded to the modulus).
    fn power<const EXPONENT: usize>(&self, base: &Uint<LIMBS>, exponent: &[u8]) -> Vec<u8> {
        let mut exponent = Uint::<EXPONENT>::from_be_slice(exponent);
        let mut power = FixedMontyForm::new(base, &self.params).pow(&exponent).retrieve();
        exponent.zeroize();
        let octets = power.to_be_bytes().as_ref().to_vec();
        power.zeroize();
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of<const LIMBS: usize>(value: &Uint<LIMBS>) -> Vec<u8> {
        value.to_be_bytes().as_ref().to_vec()
    }

    /// The bounds of RFC 6989 §2.1, and RFC 3526's shape: 64 ones at both ends.
    fn check<const LIMBS: usize>(group: DhGroup, prime: &Uint<LIMBS>) {
        let (private, _) = generate(group, &mut crate::SeededEntropy::new(1));
        let octets = value_of(prime);
        assert_eq!((&octets[..8], &octets[octets.len() - 8..]), (&[0xff; 8][..], &[0xff; 8][..]));
        let small = |n: u64| value_of(&Uint::<LIMBS>::from_u64(n));
        let below = |n: u64| value_of(&prime.wrapping_sub(&Uint::from_u64(n)));
        for refused in [small(0), small(1), below(1), below(0), vec![0xff; octets.len()]] {
            assert_eq!(private.agree(&refused), None);
        }
        assert_eq!(private.agree(&[2; 3]), None);
        for accepted in [small(2), below(2)] {
            assert_eq!(private.agree(&accepted).map(|secret| secret.len()), Some(octets.len()));
        }
    }

    #[test]
    fn values_outside_of_the_group_are_refused() {
        check(DhGroup::Modp2048, GROUP_2048.params.modulus().as_ref());
        check(DhGroup::Modp3072, GROUP_3072.params.modulus().as_ref());
        check(DhGroup::Modp4096, GROUP_4096.params.modulus().as_ref());
    }

    /// 2 is a square, so its order divides `(p - 1) / 2`, which is prime: it generates the large subgroup.
    #[test]
    fn the_generator_has_the_large_prime_order() {
        let modulus = GROUP_2048.params.modulus().as_ref();
        let half = modulus.wrapping_sub(&Uint::ONE).shr_vartime(1);
        let power = FixedMontyForm::new(&Uint::from_u64(2), &GROUP_2048.params).pow_vartime(&half).retrieve();
        assert_eq!(power, Uint::ONE);
    }
}
