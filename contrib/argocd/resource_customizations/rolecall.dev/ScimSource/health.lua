-- The status of rolecall.dev kinds is kstatus-conformant: Ready, and Reconciling or Stalled beside it only while they are True.
-- Every condition and what it means: docs/labels.md of Rolecall; what this script makes of them: docs/gitops.md.
local hs = {status = "Progressing", message = "No controller has looked at this yet"}
local status = obj.status or {}

if status.observedGeneration ~= obj.metadata.generation then
  if status.observedGeneration ~= nil and status.observedGeneration >= 0 then
    hs.message = "No controller has looked at generation " .. tostring(obj.metadata.generation) .. " yet"
  end
  return hs
end

local conditions = {}
local remarks = ""
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
  local standard = condition.type == "Ready" or condition.type == "Reconciling" or condition.type == "Stalled" or condition.type == "Held"
  if not standard and condition.status == "True" then
    remarks = remarks .. "; " .. condition.type .. ": " .. condition.reason
  end
end
local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end
local function say(health, kind)
  hs.status = health
  hs.message = conditions[kind].message .. remarks
  return hs
end

-- Somebody has to act.
if is("Stalled", "True") then
  return say("Degraded", "Stalled")
end
-- It is tried again by itself.
if is("Ready", "False") then
  say("Degraded", "Ready")
  hs.message = "Retrying: " .. hs.message
  return hs
end
if not is("Ready", "True") then
  if conditions["Ready"] ~= nil then
    return say("Progressing", "Ready")
  end
  return hs
end
-- The spec is applied. What is held waits for somebody outside: an approval, or the end of a suspension or of a plan.
if is("Held", "True") then
  return say("Suspended", "Held")
end
if obj.spec.suspend == true then
  return say("Suspended", "Ready")
end
return say("Healthy", "Ready")
