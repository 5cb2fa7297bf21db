-- The actions of a WebhookReplay: suspend and resume, until it has ended.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
local ended = obj.status ~= nil and obj.status.completionTime ~= nil
return {
  suspend = { disabled = ended or suspended },
  resume = { disabled = ended or not suspended },
}
