-- Creates a Job that redelivers all dead letters of a WebhookSubscription. Adjust the two names to your installation; the
-- ServiceAccount needs the role grapnel-events-edit in the namespace of the subscription.
local os = require("os")

local image = "grapnel:0.1.0"
local account = "grapnel-redeliver"
local operator = "http://grapnel-admin.grapnel-system.svc:9090"

local job = {
  apiVersion = "batch/v1",
  kind = "Job",
  metadata = {
    -- By uid, because names of Jobs become labels of at most 63 characters.
    name = "redeliver-" .. obj.metadata.uid .. "-" .. os.date("!%d%H%M%S"),
    namespace = obj.metadata.namespace,
    labels = { ["app.kubernetes.io/part-of"] = "grapnel" },
    annotations = { ["grapnel.dev/subscription"] = obj.metadata.namespace .. "/" .. obj.metadata.name },
    ownerReferences = {
      { apiVersion = obj.apiVersion, kind = obj.kind, name = obj.metadata.name, uid = obj.metadata.uid },
    },
  },
  spec = {
    backoffLimit = 2,
    ttlSecondsAfterFinished = 3600,
    template = {
      spec = {
        restartPolicy = "Never",
        serviceAccountName = account,
        securityContext = { runAsNonRoot = true, seccompProfile = { type = "RuntimeDefault" } },
        containers = {
          {
            name = "redeliver",
            image = image,
            args = {
              "redeliver",
              obj.metadata.namespace .. "/" .. obj.metadata.name,
              "--dead-lettered",
              "--admin-url=" .. operator,
              "--token-file=/var/run/secrets/kubernetes.io/serviceaccount/token",
            },
            securityContext = {
              allowPrivilegeEscalation = false,
              readOnlyRootFilesystem = true,
              capabilities = { drop = { "ALL" } },
            },
          },
        },
      },
    },
  },
}
return { { operation = "create", resource = job } }
