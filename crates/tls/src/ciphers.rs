//! Names of protocols and ciphers, in OpenSSL's words, and what of them rustls has.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

/// One suite: its names and the words that OpenSSL counts it under.
struct Known {
    suite: CipherSuite,
    names: [&'static str; 2],
    words: &'static [&'static str],
}

macro_rules! known {
    ($($suite:ident, $name:literal, [$($word:literal),*];)*) => {
        &[$(Known {
            suite: CipherSuite::$suite,
            names: [$name, stringify!($suite)],
            words: &[$($word),*],
        }),*]
    };
}

/// Suites of TLS 1.2 that rustls has, in the order of preference.
const TLS12: &[Known] = known! {
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", ["ECDSA", "aECDSA", "AES", "AES256", "AESGCM"];
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", ["aRSA", "AES", "AES256", "AESGCM"];
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", ["ECDSA", "aECDSA", "CHACHA20"];
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", ["aRSA", "CHACHA20"];
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", ["ECDSA", "aECDSA", "AES", "AES128", "AESGCM"];
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", ["aRSA", "AES", "AES128", "AESGCM"];
};

/// Words that hold for every suite of [`TLS12`].
const EVERY: &[&str] =
    &["DEFAULT", "ALL", "HIGH", "ECDHE", "EECDH", "kEECDH", "kECDHE", "AEAD", "TLSv1.2", "FIPS"];

/// Suites of TLS 1.3.
const TLS13: &[Known] = known! {
    TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", [];
    TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", [];
    TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", [];
};

impl Known {
    fn is(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// `A+B` means both.
    fn matches(&self, words: &str) -> bool {
        words
            .split('+')
            .all(|word| self.is(word) || self.words.contains(&word) || EVERY.contains(&word))
    }
}

/// The suites of TLS 1.2 that an OpenSSL cipher list leaves, in its order. What the list names and
/// rustls has not is left out; nothing may be left.
fn tls12(list: &str) -> Vec<CipherSuite> {
    let mut chosen: Vec<&Known> = Vec::new();
    let mut killed: Vec<&Known> = Vec::new();
    for word in list.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        if word.starts_with('@') {
            // @STRENGTH, @SECLEVEL: what is left is all of one kind.
            continue;
        }
        let (sign, words) = match word.as_bytes()[0] {
            b'!' | b'-' | b'+' => word.split_at(1),
            _ => ("", word),
        };
        let matching = || TLS12.iter().filter(|known| known.matches(words));
        let is_among = |known: &&Known| matching().any(|other| other.suite == known.suite);
        match sign {
            "!" | "-" => {
                chosen.retain(|known| !is_among(known));
                if sign == "!" {
                    killed.extend(matching());
                }
            }
            "+" => chosen.sort_by_key(is_among),
            _ => {
                for known in matching() {
                    let has = |list: &[&Known]| list.iter().any(|k| k.suite == known.suite);
                    if !has(&chosen) && !has(&killed) {
                        chosen.push(known);
                    }
                }
            }
        }
    }
    chosen.iter().map(|known| known.suite).collect()
}

fn tls13(list: &str) -> Vec<CipherSuite> {
    let mut chosen = Vec::new();
    for name in list.split(':') {
        if let Some(known) = TLS13.iter().find(|known| known.is(name))
            && !chosen.contains(&known.suite)
        {
            chosen.push(known.suite);
        }
    }
    chosen
}

/// The provider with the suites that `tls-ciphers` and `tls-ciphersuites` leave; empty texts mean
/// all.
pub(crate) fn provider(ciphers: &str, suites: &str) -> Result<CryptoProvider, String> {
    let mut provider = rustls::crypto::ring::default_provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let has_tls13 = |suite: &SupportedCipherSuite| matches!(suite, SupportedCipherSuite::Tls13(_));
    let mut take = |list: &str, of_tls13: bool| {
        let kind = || all.iter().filter(|suite| has_tls13(suite) == of_tls13);
        if list.is_empty() {
            provider.cipher_suites.extend(kind());
            return true;
        }
        let wanted = if of_tls13 { tls13(list) } else { tls12(list) };
        let found =
            wanted.iter().filter_map(|wanted| kind().find(|suite| suite.suite() == *wanted));
        let before = provider.cipher_suites.len();
        provider.cipher_suites.extend(found);
        provider.cipher_suites.len() > before
    };
    if !take(suites, true) {
        return Err(format!("Failed to configure ciphersuites: {suites}"));
    }
    if !take(ciphers, false) {
        return Err(format!("Failed to configure ciphers: {ciphers}"));
    }
    Ok(provider)
}

/// The versions that `tls-protocols` names; an empty text means all.
pub(crate) fn versions(list: &str) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let (two, three) = (&rustls::version::TLS12, &rustls::version::TLS13);
    if list.is_empty() {
        return Ok(vec![three, two]);
    }
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    for word in list.split_ascii_whitespace() {
        let version = match word.to_ascii_lowercase().as_str() {
            "tlsv1.3" => three,
            "tlsv1.2" => two,
            "tlsv1" | "tlsv1.1" => {
                return Err(format!(
                    "Invalid tls-protocols specified. {word} is too old to be safe and not supported; use 'TLSv1.2' and 'TLSv1.3'."
                ));
            }
            _ => {
                return Err("Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and 'TLSv1.3'.".into());
            }
        };
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if versions.is_empty() {
        return Err(
            "Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and 'TLSv1.3'.".into(),
        );
    }
    Ok(versions)
}

/// Names of a list that mean nothing here: for a line of the log.
pub(crate) fn unknown(ciphers: &str, suites: &str) -> Vec<String> {
    let of_tls12 = ciphers
        .split([':', ',', ' '])
        .filter(|word| !word.is_empty() && !word.starts_with(['!', '-', '+', '@']))
        .filter(|word| !TLS12.iter().any(|known| known.matches(word)));
    let of_tls13 = suites
        .split(':')
        .filter(|name| !name.is_empty() && !TLS13.iter().any(|known| known.is(name)));
    of_tls12.chain(of_tls13).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{TLS12, provider, tls12, tls13, unknown, versions};
    use rustls::CipherSuite as S;

    #[test]
    fn lists_of_openssl_choose_and_order() {
        let all: Vec<S> = TLS12.iter().map(|known| known.suite).collect();
        assert_eq!(tls12("DEFAULT:!MEDIUM"), all);
        assert_eq!(tls12("HIGH:!aNULL:!MD5:@STRENGTH"), all);
        assert_eq!(
            tls12("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:AES128-SHA"),
            [S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
        );
        assert_eq!(
            tls12("ECDHE+AESGCM:!AES256"),
            [S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
        );
        // Removed for good, and removed until it is asked for again.
        assert!(tls12("!CHACHA20:CHACHA20").is_empty());
        assert_eq!(tls12("CHACHA20:-CHACHA20:CHACHA20+aRSA").len(), 1);
        assert_eq!(
            tls12("CHACHA20:AES128:+CHACHA20").last(),
            Some(&S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
        );
        assert!(tls12("NOPE").is_empty() && tls12("").is_empty() && tls12("!").is_empty());
        assert_eq!(
            tls13("TLS_CHACHA20_POLY1305_SHA256:X:TLS_CHACHA20_POLY1305_SHA256"),
            [S::TLS13_CHACHA20_POLY1305_SHA256]
        );
        assert_eq!(
            unknown("DEFAULT:!X:DHE-RSA-AES256-SHA", "TLS_X"),
            ["DHE-RSA-AES256-SHA", "TLS_X"]
        );
    }

    #[test]
    fn nothing_left_is_an_error() {
        assert_eq!(provider("", "").expect("all").cipher_suites.len(), 9);
        assert_eq!(provider("NOPE", "").unwrap_err(), "Failed to configure ciphers: NOPE");
        assert_eq!(provider("", "NOPE").unwrap_err(), "Failed to configure ciphersuites: NOPE");
        assert_eq!(versions("tlsv1.2").expect("one").len(), 1);
        assert_eq!(versions("").expect("both").len(), 2);
        assert!(versions("TLSv1.1 TLSv1.2").unwrap_err().contains("TLSv1.1 is too old"));
        assert!(versions("TLSv9").unwrap_err().starts_with("Invalid tls-protocols specified."));
        assert!(versions(" ").is_err());
    }
}
