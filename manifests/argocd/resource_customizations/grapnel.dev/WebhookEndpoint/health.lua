-- Health of a WebhookEndpoint, from its conditions.
local metadata, status = obj.metadata, obj.status or {}

if metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted" }
end
if status.observedGeneration ~= metadata.generation or status.conditions == nil then
  return { status = "Progressing", message = "the operator has not seen this generation yet" }
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end
local function fails(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "False"
end
local function say(kind)
  return conditions[kind].reason .. ": " .. conditions[kind].message
end

if holds("Stalled") then
  return { status = "Degraded", message = say("Stalled") }
end
if holds("Reconciling") then
  return { status = "Progressing", message = conditions.Reconciling.message }
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "requests are rejected with 503: spec.suspend is true" }
end
if fails("Ready") then
  return { status = "Degraded", message = say("Ready") }
end
if not holds("Ready") then
  return { status = "Progressing", message = "the endpoint is not ready yet" }
end
if holds("Contested") then
  return { status = "Healthy", message = say("Contested") }
end
-- A Gateway or a full journal is not the endpoint's own failure: the rest of the application need not wait for it.
for _, kind in ipairs({ "Storing", "Routed" }) do
  if fails(kind) then
    return { status = "Healthy", message = say(kind) }
  end
end
return { status = "Healthy", message = status.url or conditions.Ready.message }
