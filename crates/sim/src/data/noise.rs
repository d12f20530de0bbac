//! Requests of clients that share keys: many kinds of effects, values that expire, clients that wait.

use stdx::Prng;

/// A random request.
pub fn request(prng: &mut Prng) -> Vec<String> {
    let template = TEMPLATES[prng.below(TEMPLATES.len() as u64) as usize];
    let mut words = Vec::new();
    for word in template.split(' ') {
        words.push(match word {
            "S" | "L" | "H" | "Z" | "T" | "X" | "P" | "B" | "N" | "F" => {
                format!("{}{}", word.to_lowercase(), prng.below(4))
            }
            "v" => prng.hex(1) + &"x".repeat(prng.below(40) as usize),
            "m" => format!("m{}", prng.below(12)),
            "n" => prng.below(9).to_string(),
            "ms" => (1 + prng.below(400)).to_string(),
            "wait" => format!("0.0{}", 1 + prng.below(9)),
            "~" => {
                "local t=redis.call('INCR',KEYS[1]) redis.call('RPUSH',KEYS[2],t) return t".into()
            }
            other => other.to_string(),
        });
    }
    words
}

/// Upper-case letters are keys of one type each, so that no request meets a wrong one.
const TEMPLATES: [&str; 54] = [
    "SET S v",
    "SET S v PX ms",
    "GETSET S v",
    "GETEX S PX ms",
    "APPEND S v",
    "SETRANGE S n v",
    "PEXPIRE S ms",
    "DEL S L H",
    "UNLINK Z T",
    "INCR N",
    "INCRBYFLOAT F 0.5",
    "LPUSH L v v",
    "RPUSH L v",
    "LPOP L",
    "RPOPLPUSH L L",
    "LTRIM L 0 20",
    "LSET L 99 v",
    "BLPOP L wait",
    "BLMOVE L L LEFT RIGHT wait",
    "LREM L 1 v",
    "LINSERT L BEFORE v v",
    "HSET H m v",
    "HINCRBY H n 2",
    "HDEL H m m",
    "HPEXPIRE H ms FIELDS 1 m",
    "ZADD Z n m n m",
    "ZINCRBY Z 1 m",
    "ZPOPMIN Z",
    "BZPOPMAX Z wait",
    "ZREMRANGEBYRANK Z 0 0",
    "ZRANGESTORE Z Z 0 5",
    "SADD T m m m",
    "SPOP T",
    "SPOP T 2",
    "SREM T m",
    "SMOVE T T m",
    "SUNIONSTORE T T T",
    "SDIFFSTORE T T T",
    "XADD X * f v",
    "XADD X MAXLEN 10 * f v",
    "XTRIM X MAXLEN 5",
    "PFADD P v v",
    "PFMERGE P P P",
    "SETBIT B n 1",
    "BITOP OR B B B",
    "COPY S S REPLACE",
    "PEXPIRE L ms",
    "PEXPIRE H ms",
    "PEXPIRE Z ms",
    "PERSIST S",
    "PUBLISH news v",
    "EVAL ~ 2 N L",
    "SORT T ALPHA STORE L",
    "MSET S v S v",
];
