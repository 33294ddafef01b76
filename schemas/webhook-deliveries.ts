import { defineResource, field, Type } from 'spanway';

/** GitHub webhooks as they were delivered: what is asked for often in columns, the whole payload beside them. */
export default defineResource({
  name: 'webhook-deliveries',
  key: ['deliveryId'],
  schema: Type.Object({
    deliveryId: Type.String({ minLength: 1, maxLength: 128 }),
    event: Type.String({ minLength: 1, maxLength: 64 }),
    action: Type.Optional(Type.String({ maxLength: 64 })),
    repository: Type.Optional(Type.String({ maxLength: 200 })),
    sender: Type.Optional(Type.String({ maxLength: 100 })),
    occurredAt: Type.Optional(field.timestamp()),
    payload: field.json(),
    updatedAt: field.commitTimestamp(),
  }),
  indexes: [{ fields: ['event'] }],
  access: [
    { actions: ['read'], scope: 'webhook-deliveries:read' },
    { actions: ['insert', 'update', 'upsert', 'delete'], scope: 'webhook-deliveries:write' },
  ],
});
