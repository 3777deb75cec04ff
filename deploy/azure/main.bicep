// The service on Azure Container Apps. Run twice: without `image` it makes the registry that the image is pushed to,
// with `image` it makes or updates the app. docs/cloud/azure.md has the commands.
targetScope = 'resourceGroup'

@description('Begins the name of everything made here.')
@minLength(3)
@maxLength(20)
param name string = 'bone-fracture'

@description('Region; that of the resource group unless told otherwise.')
param location string = resourceGroup().location

@description('Image by digest, REGISTRY/bone-fracture@sha256:..., from the registry made here. Empty: no app yet.')
param image string = ''

@description('API keys separated by commas. Needed once, and again to change them; empty keeps those in the vault.')
@secure()
param apiKeys string = ''

@description('Who may ask: address ranges in CIDR notation. 0.0.0.0/0 lets everybody try the keys.')
@minLength(1)
param allowedAddresses array

@description('Who is told of an alert.')
param alertEmail string

@description('Replicas that always run; two, so that one may fail.')
@minValue(1)
@maxValue(300)
param minReplicas int = 2

@description('Replicas under load.')
@minValue(1)
@maxValue(300)
param maxReplicas int = 10

@description('Replicas in several zones; false only in a region that has none.')
param zoneRedundant bool = true

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Mean answer time in milliseconds above which an alert is raised.')
param latencyMilliseconds int = 1000

var unique = uniqueString(resourceGroup().id, name)
var port = 3000
var keysSecret = 'api-keys'
var withApp = !empty(image)
var roles = 'Microsoft.Authorization/roleDefinitions'
var acrPull = subscriptionResourceId(roles, '7f951dda-4ed3-4680-a7ca-43fe172d538d')
var secretsUser = subscriptionResourceId(roles, '4633458b-17de-408a-b874-0445c86b69e6')

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logRetentionDays
    features: {
      disableLocalAuth: true
    }
  }
}

// The private network: the app's replicas in one subnet, the vault's only door in the other.
resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: '${name}-network'
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.60.0.0/16'
      ]
    }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: '10.60.0.0/23'
          delegations: [
            {
              name: 'apps'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'vault'
        properties: {
          addressPrefix: '10.60.2.0/28'
        }
      }
    ]
  }
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: 'bonefracture${unique}'
  location: location
  sku: {
    name: 'Basic'
  }
  properties: {
    // checkov:skip=CKV_AZURE_139:Premium tier only, and images are pushed from outside; only identities get in
    // checkov:skip=CKV_AZURE_166:Quarantine is of the Premium tier; the app takes an image by its digest only
    // checkov:skip=CKV_AZURE_163:Scanning is Defender for Containers, a plan of the whole subscription
    adminUserEnabled: false
    anonymousPullEnabled: false
  }
}

// May pull images and nothing else.
resource puller 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-pull'
  location: location
}

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, puller.id, acrPull)
  scope: registry
  properties: {
    roleDefinitionId: acrPull
    principalId: puller.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

// May read the one secret with the API keys and nothing else.
resource keyReader 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-keys'
  location: location
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: 'bf${unique}'
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    enablePurgeProtection: true
    publicNetworkAccess: 'Disabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
    }
  }
}

resource keys 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(apiKeys)) {
  parent: vault
  name: keysSecret
  properties: {
    // checkov:skip=CKV_AZURE_41:A date would end the service unasked; docs/cloud/azure.md says how keys are changed
    // checkov:skip=CKV_AZURE_114:It is set below; the check does not look into a resource with a condition
    value: apiKeys
    contentType: 'API keys of the service, separated by commas'
  }
}

resource keysInPlace 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = {
  parent: vault
  name: keysSecret
}

resource mayRead 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (withApp) {
  name: guid(vault.id, keysSecret, keyReader.id, secretsUser)
  scope: keysInPlace
  properties: {
    roleDefinitionId: secretsUser
    principalId: keyReader.properties.principalId
    principalType: 'ServicePrincipal'
  }
  dependsOn: [
    keys
  ]
}

resource vaultZone 'Microsoft.Network/privateDnsZones@2020-06-01' = {
  name: 'privatelink.vaultcore.azure.net'
  location: 'global'
}

resource vaultZoneLink 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = {
  parent: vaultZone
  name: '${name}-network'
  location: 'global'
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: network.id
    }
  }
}

resource vaultDoor 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: '${name}-vault'
  location: location
  properties: {
    subnet: {
      id: '${network.id}/subnets/vault'
    }
    privateLinkServiceConnections: [
      {
        name: 'vault'
        properties: {
          privateLinkServiceId: vault.id
          groupIds: [
            'vault'
          ]
        }
      }
    ]
  }
}

resource vaultDoorName 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: vaultDoor
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: 'vault'
        properties: {
          privateDnsZoneId: vaultZone.id
        }
      }
    ]
  }
}

resource appsEnvironment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: '${name}-environment'
  location: location
  properties: {
    zoneRedundant: zoneRedundant
    vnetConfiguration: {
      infrastructureSubnetId: '${network.id}/subnets/apps'
      internal: false
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    // Through the diagnostic setting below: the workspace needs no key that could leak.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
  }
}

resource environmentLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: appsEnvironment
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource vaultLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: vault
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2025-01-01' = if (withApp) {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${puller.id}': {}
      '${keyReader.id}': {}
    }
  }
  properties: {
    environmentId: appsEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      maxInactiveRevisions: 5
      // Only the platform uses them, to pull and to read the secret; code in the container can ask for no token.
      identitySettings: [
        {
          identity: puller.id
          lifecycle: 'None'
        }
        {
          identity: keyReader.id
          lifecycle: 'None'
        }
      ]
      registries: [
        {
          server: registry.properties.loginServer
          identity: puller.id
        }
      ]
      secrets: [
        {
          name: keysSecret
          keyVaultUrl: '${vault.properties.vaultUri}secrets/${keysSecret}'
          identity: keyReader.id
        }
      ]
      ingress: {
        external: true
        allowInsecure: false
        targetPort: port
        transport: 'http'
        traffic: [
          {
            latestRevision: true
            weight: 100
          }
        ]
        ipSecurityRestrictions: [
          for (addresses, index) in allowedAddresses: {
            name: 'allowed-${index}'
            action: 'Allow'
            ipAddressRange: addresses
          }
        ]
      }
    }
    template: {
      // Longer than the longest request, 70 s (`traffic` in service.py).
      terminationGracePeriodSeconds: 120
      containers: [
        {
          name: 'service'
          image: image
          // The smallest with a core for a prediction; this plan gives 2 GiB to a core. A worker holds at most 350 MB.
          resources: {
            cpu: json('1.0')
            memory: '2Gi'
          }
          env: [
            {
              name: 'API_KEYS'
              secretRef: keysSecret
            }
            {
              name: 'FRACTURE_WORKERS'
              value: '1'
            }
            {
              name: 'FRACTURE_THREADS'
              value: '1'
            }
            {
              name: 'HOME'
              value: '/tmp'
            }
            {
              name: 'BENTOML_HOME'
              value: '/tmp/bentoml'
            }
            {
              name: 'BENTOML_DO_NOT_TRACK'
              value: 'True'
            }
          ]
          volumeMounts: [
            {
              volumeName: 'tmp'
              mountPath: '/tmp'
            }
          ]
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/readyz'
                port: port
              }
              // A minute; the platform allows no more than ten failures.
              periodSeconds: 6
              timeoutSeconds: 2
              failureThreshold: 10
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: port
              }
              periodSeconds: 5
              timeoutSeconds: 3
              failureThreshold: 2
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: port
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 6
            }
          ]
        }
      ]
      // Container Apps knows no read-only root; the image's user may write nowhere else than here.
      volumes: [
        {
          name: 'tmp'
          storageType: 'EmptyDir'
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [
          {
            name: 'requests-at-once'
            http: {
              metadata: {
                // A quarter of what a worker admits (FRACTURE_CONCURRENCY): replicas come before refusals.
                concurrentRequests: '8'
              }
            }
          }
          {
            name: 'cpu'
            custom: {
              type: 'cpu'
              metadata: {
                type: 'Utilization'
                value: '70'
              }
            }
          }
        ]
      }
    }
  }
  dependsOn: [
    mayPull
    mayRead
    vaultDoorName
    vaultZoneLink
  ]
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: 'global'
  properties: {
    groupShortName: 'fracture'
    enabled: true
    emailReceivers: [
      {
        name: 'people'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource failing 'Microsoft.Insights/metricAlerts@2018-03-01' = if (withApp) {
  name: '${name}-5xx'
  location: 'global'
  properties: {
    description: 'More than five answers of 500 and above in five minutes.'
    severity: 1
    enabled: true
    scopes: [
      app.id
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: '5xx'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'microsoft.app/containerapps'
          metricName: 'Requests'
          dimensions: [
            {
              name: 'statusCodeCategory'
              operator: 'Include'
              values: [
                '5xx'
              ]
            }
          ]
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 5
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource slow 'Microsoft.Insights/metricAlerts@2018-03-01' = if (withApp) {
  name: '${name}-latency'
  location: 'global'
  properties: {
    description: 'Answers take too long, by their mean over five minutes.'
    severity: 2
    enabled: true
    scopes: [
      app.id
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'latency'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'microsoft.app/containerapps'
          metricName: 'ResponseTime'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: latencyMilliseconds
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource absent 'Microsoft.Insights/metricAlerts@2018-03-01' = if (withApp) {
  name: '${name}-no-replicas'
  location: 'global'
  properties: {
    description: 'Nothing is running.'
    severity: 0
    enabled: true
    scopes: [
      app.id
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'replicas'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'microsoft.app/containerapps'
          metricName: 'Replicas'
          timeAggregation: 'Maximum'
          operator: 'LessThan'
          threshold: 1
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

@description('Where the image is pushed to.')
output registryServer string = registry.properties.loginServer

@description('Where the service answers; empty without an image.')
output address string = withApp ? 'https://${app!.properties.configuration.ingress.fqdn}' : ''
