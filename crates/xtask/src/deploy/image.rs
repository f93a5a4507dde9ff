pub(crate) fn check(_: &super::Context) -> anyhow::Result<super::Outcome> { Ok(super::Outcome::default()) }
