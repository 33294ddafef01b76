import { defineResource, field, Type } from 'spanway';

export default defineResource({
  name: 'orders',
  key: ['orderId'],
  schema: Type.Object({
    orderId: Type.String({ minLength: 1, maxLength: 64 }),
    customer: Type.String({ minLength: 1, maxLength: 200 }),
    status: Type.Enum(['open', 'paid', 'shipped', 'cancelled']),
    total: Type.Optional(field.numeric()),
    note: Type.Optional(Type.String({ maxLength: 2000 })),
    metadata: Type.Optional(field.json()),
    updatedAt: field.commitTimestamp(),
  }),
  indexes: [{ fields: ['customer'] }],
  access: [
    { actions: ['read'], scope: 'orders:read' },
    { actions: ['insert', 'update', 'upsert', 'delete'], scope: 'orders:write' },
  ],
});
