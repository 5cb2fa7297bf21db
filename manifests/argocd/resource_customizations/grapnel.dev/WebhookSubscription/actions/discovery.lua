-- The actions of a WebhookSubscription: suspend, resume, and redeliver while there are dead letters.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
local dead = obj.status ~= nil and obj.status.deadLettered or 0
return {
  suspend = { disabled = suspended },
  resume = { disabled = not suspended },
  redeliver = { disabled = dead == 0 },
}
