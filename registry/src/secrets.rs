//! Passwords in the addresses of sources, and all of a webhook's address behind its host: hidden where objects are shown,
//! and kept where a hidden one comes back.

use crate::model::{Consumer, Input, Object, Options, Spec};
use std::collections::BTreeMap;

/// What stands in place of a password.
pub const HIDDEN: &str = "***";

/// The option of consumers that holds actions, and how those begin that are addresses.
const ACTIONS: &str = "do";
const WEBHOOK: &str = "webhook:";

/// The object as it may be shown.
pub fn hide(mut object: Object) -> Object {
    hide_in(&mut object.spec);
    object
}

/// As [`hide`], in place.
pub fn hide_in(spec: &mut Spec) {
    if let Some(url) = url_of(spec)
        && let Some((before, _, after)) = split(url)
    {
        *url = format!("{before}{HIDDEN}{after}");
    }
    if let Spec::Consumer(consumer) = spec {
        for action in consumer.options.texts_mut(ACTIONS) {
            if let Some(shown) = shown_webhook(action) {
                *action = shown;
            }
        }
    }
}

/// What is said of a consumer, as it may be shown: it may name its actions.
pub fn hide_in_text(text: &str, consumer: &Consumer) -> String {
    let mut text = text.to_owned();
    let mut options = consumer.options.clone();
    for action in options.texts_mut(ACTIONS) {
        if let (Some(shown), Some((_, url))) = (shown_webhook(action), action.split_once(':'))
            && !url.is_empty()
        {
            let shown = shown.strip_prefix(WEBHOOK).unwrap_or(HIDDEN);
            text = text.replace(url, shown);
        }
    }
    text
}

/// Puts what the present object has in place of what was hidden. An error if there is nothing to put there.
pub(crate) fn restore(spec: &mut Spec, present: Option<&Spec>) -> Result<(), String> {
    if let Spec::Consumer(consumer) = spec {
        let present = match present {
            Some(Spec::Consumer(present)) => Some(&present.options),
            _ => None,
        };
        return restore_webhooks(&mut consumer.options, present);
    }
    let Some(url) = url_of(spec) else {
        return Ok(());
    };
    let Some((before, HIDDEN, after)) = split(url) else {
        return Ok(());
    };
    let mut present = present.cloned();
    let old = present.as_mut().and_then(url_of);
    // Only where all else is the same: a password must not go to another host.
    match old.as_deref().and_then(|old| split(old)) {
        Some((old_before, password, old_after)) if (old_before, old_after) == (before, after) => {
            *url = format!("{before}{password}{after}");
            Ok(())
        }
        _ => Err(format!(
            "url: {HIDDEN} stands for a password that is not known for this address: write the password itself"
        )),
    }
}

fn url_of(spec: &mut Spec) -> Option<&mut String> {
    match spec {
        Spec::Source(source) => match &mut source.input {
            Input::Url(url) => Some(url),
            _ => None,
        },
        _ => None,
    }
}

/// Where several webhooks of a host are hidden, they are those of the present object in turn: so there must be as many.
fn restore_webhooks(options: &mut Options, present: Option<&Options>) -> Result<(), String> {
    let is_hidden = |action: &&mut String| shown_webhook(action).as_ref() == Some(&**action);
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for action in options.texts_mut(ACTIONS).filter(is_hidden) {
        *asked.entry(action.clone()).or_default() += 1;
    }
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut present = present.cloned().unwrap_or_default();
    for action in present.texts_mut(ACTIONS) {
        if let Some(shown) = shown_webhook(action) {
            known.entry(shown).or_default().push(action.clone());
        }
    }
    for (shown, count) in &asked {
        let there = known.get(shown).map_or(0, Vec::len);
        if there != *count {
            return Err(format!(
                "options.{ACTIONS}: {shown}: {HIDDEN} stands for what is hidden behind this host, and that is known for {there} \
                 of {count}: write the address itself"
            ));
        }
    }
    let mut known: BTreeMap<String, _> = known
        .into_iter()
        .map(|(shown, actions)| (shown, actions.into_iter()))
        .collect();
    for action in options.texts_mut(ACTIONS).filter(is_hidden) {
        if let Some(real) = known.get_mut(action).and_then(Iterator::next) {
            *action = real;
        }
    }
    Ok(())
}

/// `webhook:https://hooks.example/***`: who logs in, the path and the query may all be secrets. None: there is nothing of
/// these, or it is no webhook.
fn shown_webhook(action: &str) -> Option<String> {
    let url = action.trim_start().strip_prefix(WEBHOOK)?;
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(format!("{WEBHOOK}{HIDDEN}"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let is_plain = host == authority && matches!(path, "" | "/");
    (!is_plain).then(|| format!("{WEBHOOK}{scheme}://{host}/{HIDDEN}"))
}

/// What comes before the password, the password, what comes after.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let authority = url.find("://")? + 3;
    let end = url[authority..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| authority + end);
    let at = authority + url[authority..end].rfind('@')?;
    let colon = authority + url[authority..at].find(':')?;
    Some((&url[..=colon], &url[colon + 1..at], &url[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Object {
        let text = format!("{{kind: Source, name: a, spec: {{host: h, url: \"{url}\"}}}}");
        crate::yaml::parse(&text, "x").unwrap().remove(0)
    }

    #[test]
    fn a_password_is_hidden_and_found_again() {
        let real = source("rtsp://admin:s3:cr@t@cam.lan:554/live?a=b@c");
        let mut shown = hide(real.clone());
        assert_eq!(shown, source("rtsp://admin:***@cam.lan:554/live?a=b@c"));
        restore(&mut shown.spec, Some(&real.spec)).unwrap();
        assert_eq!(shown, real);
    }

    #[test]
    fn a_password_does_not_go_to_another_host() {
        let real = source("rtsp://admin:secret@cam.lan/live");
        let mut other = source("rtsp://admin:***@evil.lan/live");
        assert!(restore(&mut other.spec, Some(&real.spec)).is_err());
        assert!(restore(&mut other.spec, None).is_err());
    }

    fn consumer(actions: &str) -> Object {
        let text = format!(
            "{{kind: Consumer, name: m, spec: {{options: {{when: 'true', do: {actions}}}}}}}"
        );
        crate::yaml::parse(&text, "x").unwrap().remove(0)
    }

    const HOOKS: &str = "['webhook:http://me:hunter2@h:81/a?key=1', 'jsonl:x', 'webhook:https://hooks.example/T0/secret', \
                         'webhook:https://hooks.example/T1/other', 'exec:a@b', 'webhook:http://plain/']";

    #[test]
    fn webhooks_are_shown_by_their_hosts_and_found_again() {
        let real = consumer(HOOKS);
        let shown = hide(real.clone());
        let expected = "['webhook:http://h:81/***', 'jsonl:x', 'webhook:https://hooks.example/***', \
                        'webhook:https://hooks.example/***', 'exec:a@b', 'webhook:http://plain/']";
        assert_eq!(shown, consumer(expected));
        assert_eq!(hide(shown.clone()), shown);
        let mut back = shown;
        restore(&mut back.spec, Some(&real.spec)).unwrap();
        assert_eq!(back, real);
        let single = hide(consumer("'webhook:http://me:hunter2@h'"));
        assert_eq!(single, consumer("'webhook:http://h/***'"));
        assert_eq!(
            hide(consumer("'webhook:me:hunter2'")),
            consumer("'webhook:***'")
        );
    }

    #[test]
    fn a_webhook_that_is_hidden_and_not_known_is_refused() {
        let real = consumer(HOOKS);
        for actions in [
            "'webhook:http://evil/***'",
            "'webhook:https://h:81/***'",
            // Which of two it is nobody can tell.
            "'webhook:https://hooks.example/***'",
            "['webhook:http://h:81/***', 'webhook:http://h:81/***']",
        ] {
            let mut asked = consumer(actions);
            let error = restore(&mut asked.spec, Some(&real.spec)).expect_err(actions);
            assert!(
                !error.contains("secret") && !error.contains("hunter2"),
                "{error}"
            );
            assert!(restore(&mut asked.spec, None).is_err(), "{actions}");
        }
    }

    #[test]
    fn a_message_about_a_consumer_does_not_tell_its_secrets() {
        let object = consumer(HOOKS);
        let Spec::Consumer(spec) = &object.spec else {
            panic!("{object:?}");
        };
        let text = "invalid value 'webhook:http://me:hunter2@h:81/a?key=1' for '--do': http://me:hunter2@h:81/a?key=1: no";
        let shown = hide_in_text(text, spec);
        assert_eq!(
            shown,
            "invalid value 'webhook:http://h:81/***' for '--do': http://h:81/***: no"
        );
    }

    #[test]
    fn addresses_without_a_password_stay() {
        for url in [
            "rtsp://cam.lan:554/live",
            "rtsp://admin@cam.lan/a:b",
            "http://h/?x=a:b@c",
        ] {
            assert_eq!(hide(source(url)), source(url));
        }
    }
}
