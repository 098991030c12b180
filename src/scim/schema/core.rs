//! The schemas as tables (RFC 7643 §3.1, §4, §8.7.1 with its errata). Only data and the small constructors that keep it readable.

use super::{Attribute, ENTERPRISE_URN, GROUP_URN, Mutability, Returned, Schema, Type, USER_URN, Uniqueness};

/// What every resource has, whatever its `schemas` say (RFC 7643 §3, §3.1).
pub const COMMON: &[Attribute] = &[
    string("schemas", "The URNs of the schemas that the resource uses.")
        .multi()
        .exact()
        .read_only()
        .always(),
    string(
        "id",
        "The identifier that Rolecall gives; it never changes and is never used again.",
    )
    .exact()
    .read_only()
    .always()
    .server(),
    string("externalId", "The identifier that the provisioning client gives.").exact(),
    complex(
        "meta",
        &[
            string("resourceType", "User or Group.").exact().read_only(),
            time("created", "When the resource was created.").read_only(),
            time("lastModified", "When the resource last changed.").read_only(),
            reference("location", &["uri"], "The URL of the resource.").read_only(),
            string("version", "The version of the resource.").exact().read_only(),
        ],
        "What Rolecall knows about the resource.",
    )
    .read_only(),
];

/// The core User.
pub const USER: Schema = Schema {
    id: USER_URN,
    name: "User",
    description: "User Account",
    attributes: &[
        string(
            "userName",
            "The unique name of the user, non-empty and unique over all users of the source, whatever its case.",
        )
        .required()
        .server(),
        complex(
            "name",
            &[
                string("formatted", "The full name, formatted for display."),
                string("familyName", "The family name, or last name."),
                string("givenName", "The given name, or first name."),
                string("middleName", "The middle names."),
                string("honorificPrefix", "The title before the name, such as Ms."),
                string("honorificSuffix", "The suffix after the name, such as III."),
            ],
            "The parts of the user's name.",
        ),
        string("displayName", "The name for display."),
        string("nickName", "The casual name."),
        reference("profileUrl", &["external"], "A page that represents the user."),
        string("title", "The title, such as Vice President."),
        string("userType", "The relation to the organization, such as Employee or Contractor."),
        string("preferredLanguage", "The preferred languages, as in Accept-Language."),
        string("locale", "The locale for formats, such as en-US."),
        string("timezone", "The time zone, such as Europe/Berlin."),
        boolean("active", "Whether the user may be given access. A user without it is active."),
        string("password", "Accepted and dropped: Rolecall keeps no passwords.").write_only(),
        complex("emails", &plain(&["work", "home", "other"]), "E-mail addresses.").multi(),
        complex(
            "phoneNumbers",
            &plain(&["work", "home", "mobile", "fax", "pager", "other"]),
            "Phone numbers.",
        )
        .multi(),
        complex(
            "ims",
            &plain(&["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo", "other"]),
            "Addresses for messages.",
        )
        .multi(),
        complex(
            "photos",
            &[
                reference("value", &["external"], "The URL of a photo."),
                string("display", "A name for display."),
                string("type", "What it is for.").canonical(&["photo", "thumbnail"]),
                PRIMARY,
            ],
            "URLs of photos.",
        )
        .multi(),
        complex(
            "addresses",
            &[
                string("formatted", "The full address, formatted for display."),
                string("streetAddress", "Street and number."),
                string("locality", "City."),
                string("region", "State or region."),
                string("postalCode", "Postal code."),
                string("country", "The country, as ISO 3166-1 alpha-2."),
                string("type", "What it is for.").canonical(&["work", "home", "other"]),
                PRIMARY,
            ],
            "Addresses.",
        )
        .multi(),
        complex(
            "groups",
            &[
                string("value", "The group's id.").exact().read_only(),
                reference("$ref", &["Group"], "The group's URL.").read_only(),
                string("display", "The group's displayName.").read_only(),
                string("type", "Whether the membership is direct or through another group.")
                    .canonical(&["direct", "indirect"])
                    .read_only(),
            ],
            "The groups that the user is in. To change it, change the groups.",
        )
        .multi()
        .read_only(),
        complex("entitlements", &plain(&[]), "Things that the user has.").multi(),
        complex("roles", &plain(&[]), "Who the user is, such as Student.").multi(),
        complex(
            "x509Certificates",
            &[
                Attribute {
                    kind: Type::Binary,
                    ..string("value", "A DER certificate in base64.").exact()
                },
                string("display", "A name for display."),
                string("type", "What it is for."),
                PRIMARY,
            ],
            "Certificates of the user.",
        )
        .multi(),
    ],
};

/// The core Group.
pub const GROUP: Schema = Schema {
    id: GROUP_URN,
    name: "Group",
    description: "Group",
    attributes: &[
        // The RFC's own listing says required: false against its prose; EID 5368 mends it.
        string("displayName", "The name of the group.").required(),
        complex(
            "members",
            &[
                string("value", "The member's id.").exact().immutable(),
                reference("$ref", &["User", "Group"], "The member's URL.").immutable(),
                string("type", "User or Group.").canonical(&["User", "Group"]).immutable(),
                string("display", "The member's name for display; returned where it is asked for by name.")
                    .read_only()
                    .request(),
            ],
            "The members: users, and groups whose members count too.",
        )
        .multi(),
    ],
};

/// The enterprise extension of User.
pub const ENTERPRISE_USER: Schema = Schema {
    id: ENTERPRISE_URN,
    name: "EnterpriseUser",
    description: "Enterprise User",
    attributes: &[
        string("employeeNumber", "The number that the organization gave."),
        string("costCenter", "The cost center."),
        string("organization", "The organization."),
        string("division", "The division."),
        string("department", "The department."),
        complex(
            "manager",
            &[
                string("value", "The id of the manager's User.").exact(),
                reference("$ref", &["User"], "The URL of the manager's User."),
                string("displayName", "The manager's displayName.").read_only(),
            ],
            "The user's manager.",
        ),
    ],
};

const PRIMARY: Attribute = boolean("primary", "Whether this is the preferred value; at most one is.");

const fn plain(types: &'static [&'static str]) -> [Attribute; 4] {
    [
        string("value", "The value."),
        string("display", "A name for display."),
        string("type", "What it is for.").canonical(types),
        PRIMARY,
    ]
}

const fn string(name: &'static str, description: &'static str) -> Attribute {
    Attribute {
        name,
        kind: Type::String,
        multi: false,
        required: false,
        case_exact: false,
        mutability: Mutability::ReadWrite,
        returned: Returned::Default,
        uniqueness: Uniqueness::None,
        canonical: &[],
        reference: &[],
        sub: &[],
        description,
    }
}

const fn boolean(name: &'static str, description: &'static str) -> Attribute {
    Attribute {
        kind: Type::Boolean,
        ..string(name, description)
    }
}

const fn time(name: &'static str, description: &'static str) -> Attribute {
    Attribute {
        kind: Type::DateTime,
        ..string(name, description)
    }
}

/// References are always compared with case (RFC 7643 §2.3.7), whatever the RFC's listing says.
const fn reference(name: &'static str, to: &'static [&'static str], description: &'static str) -> Attribute {
    Attribute {
        kind: Type::Reference,
        reference: to,
        case_exact: true,
        ..string(name, description)
    }
}

const fn complex(name: &'static str, sub: &'static [Attribute], description: &'static str) -> Attribute {
    Attribute {
        kind: Type::Complex,
        sub,
        ..string(name, description)
    }
}

impl Attribute {
    const fn multi(self) -> Attribute {
        Attribute { multi: true, ..self }
    }

    const fn exact(self) -> Attribute {
        Attribute { case_exact: true, ..self }
    }

    const fn required(self) -> Attribute {
        Attribute { required: true, ..self }
    }

    const fn read_only(self) -> Attribute {
        Attribute {
            mutability: Mutability::ReadOnly,
            ..self
        }
    }

    const fn immutable(self) -> Attribute {
        Attribute {
            mutability: Mutability::Immutable,
            ..self
        }
    }

    const fn write_only(self) -> Attribute {
        Attribute {
            mutability: Mutability::WriteOnly,
            returned: Returned::Never,
            ..self
        }
    }

    const fn always(self) -> Attribute {
        Attribute {
            returned: Returned::Always,
            ..self
        }
    }

    const fn request(self) -> Attribute {
        Attribute {
            returned: Returned::Request,
            ..self
        }
    }

    const fn server(self) -> Attribute {
        Attribute {
            uniqueness: Uniqueness::Server,
            ..self
        }
    }

    const fn canonical(self, values: &'static [&'static str]) -> Attribute {
        Attribute { canonical: values, ..self }
    }
}
