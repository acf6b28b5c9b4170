//! What words are, and what is made of slips.

use super::*;

fn one(text: &str) -> Statement {
    let (mut found, _) = statements(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// `key=value` of each word; quotes and scripts are marked.
fn shown(text: &str) -> Vec<String> {
    let show = |w: &Word| {
        let value = match &w.value {
            Value::Plain(t) => t.clone(),
            Value::Quoted(t) => format!("<{t}>"),
            Value::Script(t) => format!("script {t}"),
        };
        let relation = match w.relation {
            Relation::Is => "=",
            Relation::IsNot => "!=",
            Relation::Like => "~",
        };
        let key = w.key.as_ref().map(|k| format!("{k}{relation}"));
        format!("{}{value}", key.unwrap_or_default())
    };
    one(text).words.iter().map(show).collect()
}

#[test]
fn a_continued_line_is_one_statement_wherever_it_is_broken() {
    let text = "add action=accept chain=input comment=\\\n    \"late \\\n    answers\" \\\n    \
                dst-port=53";
    assert_eq!(
        shown(text),
        [
            "add",
            "action=accept",
            "chain=input",
            "comment=<late answers>",
            "dst-port=53"
        ]
    );
    assert_eq!(
        one(text).text,
        "add action=accept chain=input comment=\"late answers\" dst-port=53"
    );
}

#[test]
fn lines_are_counted_through_continuations() {
    let (found, _) = statements("\n# x\na \\\n b\r\nc; d\n");
    let lines: Vec<u32> = found.iter().map(|s| s.line).collect();
    assert_eq!(lines, [3, 5, 5]);
    assert_eq!(found[0].comments, ["x"]);
}

#[test]
fn escapes_stand_for_what_routeros_means() {
    assert_eq!(
        shown(r#"x="a\"b\\c\$d\?e\_f\09g\D0\9F\.h""#),
        ["x=<a\"b\\c$d?e f\tgП\\.h>"]
    );
    assert_eq!(shown(r#"x="\E9""#), ["x=<é>"]);
    // The configuration reads the same escapes in a content.
    assert_eq!(
        shown(r#"content="\E9\\0D\r\"é""#),
        [r#"content=<\E9\\0D\0D"\C3\A9>"#]
    );
}

#[test]
fn an_unclosed_quote_ends_before_the_next_property() {
    let text = "add comment=\"Drop invalid action=drop";
    assert_eq!(
        shown(text),
        ["add", "comment=<Drop invalid>", "action=drop"]
    );
    assert_eq!(one(text).slips, ["a quote that opens and does not close"]);
    assert_eq!(
        shown("add log-prefix=\"API Drop: "),
        ["add", "log-prefix=<API Drop:>"]
    );
    // The next line is a statement of its own.
    assert_eq!(statements("a x=\"b\nc y=1").0.len(), 2);
}

#[test]
fn typographic_quotes_are_quotes_with_a_slip() {
    assert_eq!(shown("x=“a b”"), ["x=<a b>"]);
    assert_eq!(one("x=“a b”").slips.len(), 1);
}

#[test]
fn brackets_and_variables_are_scripts() {
    assert_eq!(
        shown("set [find comment=\"a ] b\"] x=$y z=\"$w\" v=\"a$\""),
        [
            "set",
            "script [find comment=\"a ] b\"]",
            "x=script $y",
            "z=script \"$w\"",
            "v=<a$>"
        ]
    );
    let (found, _) = statements(":foreach i in=[find] do={\n  remove $i\n}\nadd a=b");
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].line, 4);
}

#[test]
fn an_unclosed_bracket_takes_no_more_than_its_line() {
    let (found, _) = statements("set [find x=1\nadd a=b\nadd [c\nadd d=e");
    assert_eq!(found.len(), 4);
    assert_eq!(found[0].slips.len(), 1);
}

#[test]
fn a_script_over_several_lines_is_no_list_of_commands() {
    let (found, _) = statements("add source=\"first\n/ip firewall filter remove\n\"\nadd a=b");
    assert_eq!(found.len(), 2);
}

#[test]
fn prompts_are_passed_over_and_keep_their_menu() {
    let found = one("[admin@MikroTik] > /ip address add address=10.0.0.1/24");
    assert_eq!(found.prompt.as_deref(), Some(""));
    assert_eq!(found.words.len(), 4);
    let found = one("[admin@MikroTik] /ip firewall filter> add chain=input");
    assert_eq!(found.prompt.as_deref(), Some("/ip firewall filter"));
    let found = one("[admin@R1] <SAFE> /ip address print");
    assert_eq!(found.prompt.as_deref(), Some(""));
    assert_eq!(found.words[0].value.text(), "/ip");
}

#[test]
fn relations_are_told_apart() {
    let found =
        words("find where chain=input and action!=drop name~\"^x\" src-address=!10.0.0.0/8");
    let shown: Vec<_> = found
        .iter()
        .filter_map(|w| Some((w.key.as_deref()?, w.relation, w.value.text())))
        .collect();
    assert_eq!(
        shown,
        [
            ("chain", Relation::Is, "input"),
            ("action", Relation::IsNot, "drop"),
            ("name", Relation::Like, "^x"),
            ("src-address", Relation::Is, "!10.0.0.0/8"),
        ]
    );
}
