//! Fields of a manifest file that a custom resource may not write.

/// What only files may say: a custom resource is written by whoever may, and tidegate's files and variables are none
/// of theirs. The fields stay in the schema, because what is not in it the server drops without a word.
pub(in crate::cluster::crd) struct Refused {
    /// The end of the block's path.
    pub(in crate::cluster::crd) block: &'static str,
    pub(in crate::cluster::crd) field: &'static str,
    pub(in crate::cluster::crd) message: &'static str,
}

pub(in crate::cluster::crd) const REFUSED: [Refused; 17] = [
    Refused {
        block: ".redis",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".redis.sentinel",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".redis",
        field: "unixSocket",
        message: "a custom resource may not name a socket of the machine that tidegate runs on; write the server's address",
    },
    Refused {
        block: ".usernameFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: username }",
    },
    Refused {
        block: ".usernameFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: username }",
    },
    Refused {
        block: ".passwordFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: password }",
    },
    Refused {
        block: ".passwordFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: password }",
    },
    Refused {
        block: ".tls",
        field: "caFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write caFrom: { secretKeyRef: { name: redis-tls, key: ca.crt } }",
    },
    Refused {
        block: ".tls",
        field: "certFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write certFrom: { secretKeyRef: { name: redis-tls, key: tls.crt } }",
    },
    Refused {
        block: ".tls",
        field: "keyFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write keyFrom: { secretKeyRef: { name: redis-tls, key: tls.key } }",
    },
    Refused {
        block: ".postgres",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".prometheus",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".scrape",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".urlFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: url }",
    },
    Refused {
        block: ".urlFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: url }",
    },
    Refused {
        block: ".bearerTokenFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: token }",
    },
    Refused {
        block: ".bearerTokenFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: token }",
    },
];
