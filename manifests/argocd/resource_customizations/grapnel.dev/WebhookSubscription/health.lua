-- Health of a WebhookSubscription, from its conditions.
local metadata, status = obj.metadata, obj.status or {}

if metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "being deleted; with deletionPolicy Drain when its events are settled" }
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
  return { status = "Suspended", message = "nothing is delivered: spec.suspend is true; events are retained" }
end
-- Its endpoint is suspended: nothing is on the way, and nothing is wrong.
local ready = conditions.Ready
if ready ~= nil and ready.reason == "EndpointSuspended" then
  return { status = "Suspended", message = say("Ready") }
end
-- Not stalled: its endpoint is not ready, and this ends with it.
if not holds("Ready") then
  return { status = "Progressing", message = ready ~= nil and say("Ready") or "the subscription is not ready yet" }
end
if holds("Contested") then
  return { status = "Healthy", message = say("Contested") }
end
-- A failing receiver is not the subscription's own failure: the rest of the application need not wait for it.
if fails("Delivering") then
  return { status = "Healthy", message = say("Delivering") }
end
local dead = status.deadLettered or 0
if dead > 0 then
  return { status = "Healthy", message = dead .. " dead letters" }
end
return { status = "Healthy", message = conditions.Ready.message }
