//! Sums and texts as redis-server 7.0.15 prints them (asked with SET and INCRBYFLOAT).

use super::LongDouble;

fn sum(a: &str, b: &str) -> Option<String> {
    let (a, b) = (LongDouble::parse(a.as_bytes())?, LongDouble::parse(b.as_bytes())?);
    Some(String::from_utf8(a.add(b)?.to_text()).expect("digits are text"))
}

#[test]
fn sums_are_those_of_redis() {
    for (a, b, expected) in [
        ("0.1", "0.2", "0.3"),
        ("10.5", "0.1", "10.6"),
        ("5.0e3", "200", "5200"),
        ("1e21", "0.1", "1000000000000000000000"),
        ("3.0", "1.1", "4.1"),
        ("-1e-30", "0", "0"),
        ("0.1", "-0.1", "0"),
        ("1e-17", "4e-18", "0.00000000000000001"),
        ("1e-17", "5e-18", "0.00000000000000002"),
        ("1.5e-17", "1e-18", "0.00000000000000002"),
        ("0x1p3", "0x.8", "8.5"),
        ("18446744073709551615", "1", "18446744073709551616"),
        ("18446744073709551616", "1", "18446744073709551616"),
        ("36893488147419103232", "1", "36893488147419103232"),
        ("36893488147419103232", "3", "36893488147419103236"),
        ("123456789012345678901234567890", "0.5", "123456789012345678899921813504"),
        ("17179869184", "-5.00000000001", "17179869179"),
        (
            "3.14159265358979323846264338327950288",
            "2.71828182845904523536028747135266249775724709369995",
            "5.85987448204883847",
        ),
        ("1", "1e-19", "1"),
        ("1", "6e-20", "1"),
        ("3.6e-4951", "0", "0"),
    ] {
        assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        assert_eq!(sum(b, a).as_deref(), Some(expected), "{b} + {a}");
    }
}

#[test]
fn the_biggest_number_prints_whole() {
    let text = LongDouble::parse(b"1.18973149535723176502e4932").unwrap().to_text();
    assert_eq!(text.len(), 4933);
    assert!(text.starts_with(b"118973149535723176502"));
    assert_eq!(sum("1.18973149535723176502e4932", "1.18973149535723176502e4932"), None);
}

#[test]
fn integers_are_exact() {
    for value in [0, 1, -1, i64::MAX, i64::MIN, 1 << 53 | 1] {
        let number = LongDouble::from_i64(value);
        assert_eq!(number.to_text(), value.to_string().into_bytes());
        assert_eq!(LongDouble::parse(value.to_string().as_bytes()), Some(number));
    }
}

#[test]
fn what_strtold_refuses_or_redis_does_not_want() {
    for bad in [
        "",
        "-",
        "+",
        ".",
        "e5",
        "1e",
        "1e+",
        "1x",
        "0x",
        "0x.",
        "0x1p",
        "nan",
        "-nan",
        "--1",
        " 1",
        "1 ",
        "1_0",
        "1e4933",
        "1e-4960",
        "0x1p16384",
        "0x1p-16446",
        "infinit",
        "0xg",
    ] {
        assert_eq!(LongDouble::parse(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(LongDouble::parse(&[b'1'; 5120]), None);
    for good in ["0e99999", "-0", "1.", ".5", "0x.8", "0X1P-16445", "inf", "-Infinity"] {
        assert!(LongDouble::parse(good.as_bytes()).is_some(), "{good}");
    }
    assert_eq!(sum("inf", "1"), None);
    assert_eq!(sum("inf", "-inf"), None);
}
