use async_trait::async_trait;

use super::{LdapDirectory, LdapPerson};
use crate::{
    Error,
    identity::{DirectoryPerson, PeopleDirectory},
};

#[async_trait]
impl PeopleDirectory for LdapDirectory {
    async fn check(&self, login: &str, password: &str) -> Result<Option<DirectoryPerson>, Error> {
        let person = Self::check(self, login, password).await?;
        Ok(person.map(DirectoryPerson::from))
    }

    async fn find(&self, login: &str) -> Result<Option<DirectoryPerson>, Error> {
        let person = Self::find(self, login).await?;
        Ok(person.map(DirectoryPerson::from))
    }
}

impl From<LdapPerson> for DirectoryPerson {
    fn from(person: LdapPerson) -> Self {
        Self {
            user: person.user,
            groups: person.groups,
            tenant: person.tenant,
            login: person.login,
            id: person.id,
        }
    }
}
