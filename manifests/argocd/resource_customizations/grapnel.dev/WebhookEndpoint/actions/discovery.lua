-- The actions of a WebhookEndpoint: suspend while it is not suspended, resume while it is.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
return {
  suspend = { disabled = suspended },
  resume = { disabled = not suspended },
}
