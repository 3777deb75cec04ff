// Optional: an MLflow server for several people on Azure Container Apps, its records in PostgreSQL, its artifacts in Blob
// Storage, and a login. Best in a resource group of its own. docs/cloud/tracking-cloud.md has the commands.
targetScope = 'resourceGroup'

@description('Begins the name of everything made here.')
@minLength(3)
@maxLength(26)
param name string = 'bone-fracture-tracking'

@description('Region; that of the resource group unless told otherwise.')
param location string = resourceGroup().location

@description('Image of deploy/tracking by digest, REGISTRY/bone-fracture-tracking@sha256:...')
@minLength(73)
param image string

@description('Host of the registry that holds the image.')
param registryServer string

@description('Resource id of an identity that may pull it, such as bone-fracture-pull of main.bicep.')
param pullIdentity string

@description('Name of the first account, which makes the others.')
param administrator string = 'administrator'

@description('Password with which the first account is made.')
@secure()
@minLength(16)
param adminPassword string

@description('Password of the database: letters of both cases and digits, and nothing else.')
@secure()
@minLength(24)
@maxLength(128)
param databasePassword string

@description('Key with which the server signs its forms.')
@secure()
@minLength(32)
param sessionKey string

@description('Who may ask: address ranges in CIDR notation. 0.0.0.0/0 lets everybody try passwords.')
@minLength(1)
param allowedAddresses array

@description('Who is told of an alert.')
param alertEmail string

@description('Size of the database, of the burstable tier.')
param databaseSize string = 'Standard_B1ms'

@description('Days to which the database can be put back, to the second.')
@minValue(7)
@maxValue(35)
param backupDays int = 14

@description('Days after which an overwritten or deleted artifact is gone for good.')
@minValue(1)
@maxValue(365)
param oldVersionDays int = 90

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

var unique = uniqueString(resourceGroup().id, name)
var port = 5000
var databaseName = 'mlflow'
var databaseUser = 'mlflow'
var blobHost = 'blob.${environment().suffixes.storage}'
var roles = 'Microsoft.Authorization/roleDefinitions'
var secretsUser = subscriptionResourceId(roles, '4633458b-17de-408a-b874-0445c86b69e6')
var blobContributor = subscriptionResourceId(roles, 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')

// Vault, database and artifacts have no public address; each has one door into the network below.
var doors = [
  {
    name: 'vault'
    target: vault.id
    group: 'vault'
    zone: 'privatelink.vaultcore.azure.net'
  }
  {
    name: 'database'
    target: database.id
    group: 'postgresqlServer'
    zone: 'privatelink.postgres.database.azure.com'
  }
  {
    name: 'artifacts'
    target: storage.id
    group: 'blob'
    zone: 'privatelink.${blobHost}'
  }
]

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

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: '${name}-network'
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.61.0.0/16'
      ]
    }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: '10.61.0.0/23'
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
        name: 'doors'
        properties: {
          addressPrefix: '10.61.2.0/27'
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2020-06-01' = [
  for door in doors: {
    name: door.zone
    location: 'global'
  }
]

resource zoneLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = [
  for (door, index) in doors: {
    parent: zones[index]
    name: '${name}-network'
    location: 'global'
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [
  for door in doors: {
    name: '${name}-${door.name}'
    location: location
    properties: {
      subnet: {
        id: '${network.id}/subnets/doors'
      }
      privateLinkServiceConnections: [
        {
          name: door.name
          properties: {
            privateLinkServiceId: door.target
            groupIds: [
              door.group
            ]
          }
        }
      ]
    }
    // A server that is just being changed takes no door.
    dependsOn: [
      encryptedOnly
    ]
  }
]

resource endpointNames 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [
  for (door, index) in doors: {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: door.name
          properties: {
            privateDnsZoneId: zones[index].id
          }
        }
      ]
    }
  }
]

resource database 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: '${name}-${unique}'
  location: location
  sku: {
    name: databaseSize
    tier: 'Burstable'
  }
  properties: {
    version: '17'
    administratorLogin: databaseUser
    administratorLoginPassword: databasePassword
    // MLflow connects with a password; it cannot fetch a new token of Entra every hour.
    authConfig: {
      passwordAuth: 'Enabled'
      activeDirectoryAuth: 'Disabled'
    }
    storage: {
      storageSizeGB: 32
      autoGrow: 'Enabled'
    }
    backup: {
      // Another region would double the price, and records of patients' projects may have to stay in theirs.
      backupRetentionDays: backupDays
      geoRedundantBackup: 'Disabled'
    }
    highAvailability: {
      mode: 'Disabled'
    }
    network: {
      publicNetworkAccess: 'Disabled'
    }
  }
}

resource records 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2025-08-01' = {
  parent: database
  name: databaseName
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

resource encryptedOnly 'Microsoft.DBforPostgreSQL/flexibleServers/configurations@2025-08-01' = {
  parent: database
  name: 'require_secure_transport'
  properties: {
    value: 'ON'
    source: 'user-override'
  }
  // One change of a server at a time.
  dependsOn: [
    records
  ]
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'bft${unique}'
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_ZRS'
  }
  properties: {
    // checkov:skip=CKV_AZURE_36:Trusted services of Azure are kept out as well; the app alone has to do with artifacts
    // checkov:skip=CKV_AZURE_43:The name is letters and digits; the check does not evaluate uniqueString
    // checkov:skip=CKV_AZURE_206:Three zones of one region hold each artifact; a second region is for its owner to ask
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Disabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: oldVersionDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: oldVersionDays
    }
  }
}

resource artifacts 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'artifacts'
  properties: {
    publicAccess: 'None'
  }
}

resource forgetting 'Microsoft.Storage/storageAccounts/managementPolicies@2023-05-01' = {
  parent: storage
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'forget'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
            }
            actions: {
              version: {
                delete: {
                  daysAfterCreationGreaterThan: oldVersionDays
                }
              }
            }
          }
        }
      ]
    }
  }
  dependsOn: [
    blobs
  ]
}

// Runs and artifacts do not go with a careless `az group delete`.
resource keepDatabase 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep-database'
  scope: database
  properties: {
    level: 'CanNotDelete'
    notes: 'All runs. docs/cloud/tracking-cloud.md says how it is taken down.'
  }
}

resource keepArtifacts 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep-artifacts'
  scope: storage
  properties: {
    level: 'CanNotDelete'
    notes: 'All artifacts. docs/cloud/tracking-cloud.md says how it is taken down.'
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: 'bft${unique}'
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

resource databaseSecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'database-password'
  properties: {
    // checkov:skip=CKV_AZURE_41:A date would end the server unasked; the deployment with another value changes it
    value: databasePassword
    contentType: 'Password of the database'
  }
}

resource adminSecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'admin-password'
  properties: {
    // checkov:skip=CKV_AZURE_41:A date would end the server unasked; it is used once, to make the first account
    value: adminPassword
    contentType: 'Password of the first account'
  }
}

resource sessionSecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'session-key'
  properties: {
    // checkov:skip=CKV_AZURE_41:A date would end the server unasked; the deployment with another value changes it
    value: sessionKey
    contentType: 'Key with which forms are signed'
  }
}

// May read the three secrets and nothing else; only the platform uses it.
resource secretReader 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-secrets'
  location: location
}

resource mayReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, secretReader.id, secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: secretsUser
    principalId: secretReader.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

// The server's own: may keep artifacts in one container and nothing else.
resource keeper 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-artifacts'
  location: location
}

resource mayKeepArtifacts 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(artifacts.id, keeper.id, blobContributor)
  scope: artifacts
  properties: {
    roleDefinitionId: blobContributor
    principalId: keeper.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource appsEnvironment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: '${name}-environment'
  location: location
  properties: {
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

resource databaseLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: database
  properties: {
    workspaceId: logs.id
    logs: [
      {
        category: 'PostgreSQLLogs'
        enabled: true
      }
    ]
  }
}

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${pullIdentity}': {}
      '${secretReader.id}': {}
      '${keeper.id}': {}
    }
  }
  properties: {
    environmentId: appsEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      maxInactiveRevisions: 5
      // Code in the container gets a token for artifacts and for nothing else.
      identitySettings: [
        {
          identity: pullIdentity
          lifecycle: 'None'
        }
        {
          identity: secretReader.id
          lifecycle: 'None'
        }
        {
          identity: keeper.id
          lifecycle: 'Main'
        }
      ]
      registries: [
        {
          server: registryServer
          identity: pullIdentity
        }
      ]
      secrets: [
        {
          name: 'database-password'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/database-password'
          identity: secretReader.id
        }
        {
          name: 'admin-password'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/admin-password'
          identity: secretReader.id
        }
        {
          name: 'session-key'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/session-key'
          identity: secretReader.id
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
      terminationGracePeriodSeconds: 75
      containers: [
        {
          name: 'server'
          image: image
          resources: {
            cpu: json('1.0')
            memory: '2Gi'
          }
          env: [
            {
              name: 'PGHOST'
              value: database.properties.fullyQualifiedDomainName
            }
            {
              name: 'PGPORT'
              value: '5432'
            }
            {
              name: 'PGDATABASE'
              value: databaseName
            }
            {
              name: 'PGUSER'
              value: databaseUser
            }
            {
              name: 'PGPASSWORD'
              secretRef: 'database-password'
            }
            {
              name: 'TRACKING_ARTIFACTS'
              value: 'wasbs://${artifacts.name}@${storage.name}.${blobHost}/artifacts'
            }
            {
              name: 'MLFLOW_AUTH_ADMIN_USERNAME'
              value: administrator
            }
            {
              name: 'MLFLOW_AUTH_ADMIN_PASSWORD'
              secretRef: 'admin-password'
            }
            {
              name: 'MLFLOW_FLASK_SERVER_SECRET_KEY'
              secretRef: 'session-key'
            }
            {
              name: 'TRACKING_HOST'
              value: '${name}.${appsEnvironment.properties.defaultDomain}'
            }
            // Which of the identities azure-identity asks for.
            {
              name: 'AZURE_CLIENT_ID'
              value: keeper.properties.clientId
            }
            {
              name: 'PGSSLMODE'
              value: 'require'
            }
            {
              name: 'HOME'
              value: '/tmp'
            }
            {
              name: 'TMPDIR'
              value: '/tmp'
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
                path: '/health'
                port: port
              }
              // Five minutes: the first start makes the tables.
              periodSeconds: 30
              timeoutSeconds: 5
              failureThreshold: 10
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/health'
                port: port
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/health'
                port: port
              }
              periodSeconds: 20
              timeoutSeconds: 10
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
      // One: a few people, and a new MLflow changes the tables under the feet of the old one.
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
  dependsOn: [
    adminSecret
    databaseSecret
    sessionSecret
    mayReadSecrets
    mayKeepArtifacts
    encryptedOnly
    endpointNames
    zoneLinks
  ]
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: 'global'
  properties: {
    groupShortName: 'tracking'
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

resource absent 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-no-replicas'
  location: 'global'
  properties: {
    description: 'Nothing is running.'
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

@description('MLFLOW_TRACKING_URI.')
output address string = 'https://${app.properties.configuration.ingress.fqdn}'
