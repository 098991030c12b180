local suspended = obj.spec.suspend == true
local annotations = obj.metadata.annotations or {}
local held = obj.status ~= nil and obj.status.heldIndex or nil

local actions = {}
actions["reconcile"] = {["disabled"] = false, ["iconClass"] = "fa fa-fw fa-redo", ["displayName"] = "Look at everything now"}
actions["suspend"] = {["disabled"] = suspended, ["iconClass"] = "fa fa-fw fa-pause", ["displayName"] = "Suspend"}
actions["resume"] = {["disabled"] = not suspended, ["iconClass"] = "fa fa-fw fa-play", ["displayName"] = "Resume"}
-- What was held by now is released; what comes to be held later waits for its own approval.
actions["approve"] = {["disabled"] = true, ["iconClass"] = "fa fa-fw fa-check", ["displayName"] = "Approve what is held"}
if held ~= nil and annotations["rolecall.dev/approve"] ~= tostring(held) then
  actions["approve"]["disabled"] = false
end
return actions
