-- Health of a WebhookReplay, from its conditions.
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
local function say(kind)
  return conditions[kind].reason .. ": " .. conditions[kind].message
end

if holds("Stalled") then
  return { status = "Degraded", message = say("Stalled") }
end
if holds("Complete") then
  return { status = "Healthy", message = conditions.Complete.message }
end
if holds("Suspended") then
  return { status = "Suspended", message = conditions.Suspended.message }
end
local complete = conditions.Complete
return { status = "Progressing", message = complete ~= nil and complete.message or "the replay has not begun yet" }
