// scimmy-routers over two Maps: the smallest handlers that keep what they are given. The port is the first argument.
import express from "express";
import { randomUUID } from "node:crypto";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const stored = () => {
  const all = new Map();
  return {
    ingress: (resource, data) => {
      const id = resource.id ?? randomUUID();
      if (resource.id && !all.has(id)) throw new SCIMMY.Types.Error(404, null, `no ${id}`);
      const now = new Date();
      const one = { ...data, id, meta: { created: all.get(id)?.meta.created ?? now, lastModified: now } };
      all.set(id, one);
      return one;
    },
    egress: (resource) => {
      if (resource.id) {
        if (!all.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `no ${resource.id}`);
        return all.get(resource.id);
      }
      const list = [...all.values()];
      return resource.filter ? resource.filter.match(list) : list;
    },
    degress: (resource) => {
      if (!all.delete(resource.id)) throw new SCIMMY.Types.Error(404, null, `no ${resource.id}`);
    },
  };
};
SCIMMY.Resources.declare(SCIMMY.Resources.User, stored());
SCIMMY.Resources.declare(SCIMMY.Resources.Group, stored());
express()
  .use("/scim", new SCIMMYRouters({ type: "bearer", handler: () => "provider" }))
  .listen(Number(process.argv[2]), "127.0.0.1", () => console.log("serving"));
